"""Fixtures that many tests take: tiny models and texts, packages, a cache of its own, and the command line."""

import contextlib
import gc
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CLLORA_ENGINE"] = "inline"  # unless a test names another
if "PYTEST_XDIST_WORKER" in os.environ:  # The workers share the cores; before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest

from cllora.catalog import registries
from cllora.corpus import packages, versions
from cllora.registry import load_plugins
from support.fixtures import MakePackage
from support.models import save_tiny_model
from support.samples import NUM_TEXTS, WORDS

# As in `report`; test_report.py holds that pandas' own choice gives the same tables.
pd.set_option("mode.string_storage", "python")

# Registries are filled before a test puts one back as it was before.
load_plugins(())

# The same examples every time, however slow a busy machine is with one.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


SLOWEST = (
    "test_engines.py",
    "test_until_decided.py",
    "test_cells_together.py",
    "test_activations.py",
    "test_report.py",
    "test_runs.py",
    "test_trained_parts.py",
    "test_learner.py",
    "test_cli.py",
    "test_report_parts.py",
    "test_once.py",
    "test_estimate.py",
    "test_presets.py",
    "test_families.py",
    "test_corpus_features.py",
    "test_gguf.py",
    "test_report_browser.py",
    "test_update_geometry.py",
    "test_quality_runs.py",
    "test_inspect.py",
    "test_report_honesty.py",
    "test_tracking.py",
    "test_generate.py",
    "test_asked_modules.py",
    "test_unattended.py",
    "test_own_metric.py",
    "test_ranks.py",
    "test_verdicts.py",
    "test_probes.py",
    "test_patterns.py",
    "test_together.py",
    "test_error_rates.py",
    "test_strategies_on_lora.py",
)
"""What takes longest comes first, so that no worker begins with it as the others end."""


def pytest_configure(config):
    """Files are given out in the order below, not, as xdist would, by how many tests are in them."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    # What is compiled is kept, or each worker, and each process that a test starts, would compile all of it anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: SLOWEST.index(item.path.name) if item.path.name in SLOWEST else len(SLOWEST))


def pytest_collection_finish(session):
    """What has been imported by now stays: to look through it for garbage again and again took long."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val, argname):
    """What a test is called holds no bytes: a gzip header has the second in it, and workers would disagree."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A function from a family's name to the folder of a tiny random model of it, made once a session."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny_model(family, tmp_path_factory.mktemp("models") / family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """Made-up texts of 2 to 40 words by four owners."""
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with path.open("w") as file:
        for row in range(NUM_TEXTS):
            words = draw.choice(WORDS, draw.integers(2, 41))
            file.write(json.dumps({"text": " ".join(words), "owner": f"owner-{row % 4}"}) + "\n")
    return path


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Lay out an importable package (files: path -> source), with a version if one is given."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, files: dict[str, str | bytes], version: str | None = None) -> Path:
        for path, source in {"__init__.py": "", **files}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source if isinstance(source, bytes) else source.encode())
        if version is not None:
            info = tmp_path / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (info / "top_level.txt").write_text(name)
            packages.distributions.cache_clear()
        return tmp_path / name

    return make


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """A file is written and renamed as ever; only a machine that loses its power would tell the difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What is cached is kept for the session, and apart from the user's own and from the other workers'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def registries_restored():
    """What a test registers is gone after it."""
    with contextlib.ExitStack() as stack:
        for registry in (*registries().values(), versions):
            stack.enter_context(registry.restored())
        yield


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `cllora ...`; returns exit code, stdout and stderr."""
    from cllora import cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cllora", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run
