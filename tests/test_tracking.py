"""`report_to`: trackers hear of every round, and cost the run nothing when they fail."""

import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import cllora
from cllora.errors import UsageError
from cllora.runs import trackers
from cllora.runs.tracking import figures_of
from cllora.spec import Study
from cllora.store import read_rounds
from support.studies import interrupted, study_fields

CELL = "seed=0"


@pytest.fixture
def study(tiny_models, texts):
    """A function that makes the tiny study of one cell, reporting to some trackers."""

    def make(*names, **changes):
        fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, report_to=list(names), **changes)
        return Study.parse(fields)

    return make


@pytest.fixture
def heard():
    """Registers the trackers `ear`, which writes down what it hears, and `stone`, which fails when it is told."""
    import contextlib

    said = {"runs": [], "rounds": [], "closed": 0}

    @trackers.register()
    @contextlib.contextmanager
    def ear(run):
        """Hears."""
        said["runs"].append(run)
        yield lambda number, figures: said["rounds"].append((number, dict(figures)))
        said["closed"] += 1

    @trackers.register()
    @contextlib.contextmanager
    def stone(run):
        """Fails."""

        def write(number, figures):
            if number == 1:
                raise ConnectionError("no answer\nfrom anyone")

        yield write

    return said


def test_a_tracker_hears_every_round_with_its_figures(study, heard, tmp_path):
    folder = cllora.run(study("ear"), tmp_path)
    rounds = read_rounds(folder / CELL)
    assert [number for number, _ in heard["rounds"]] == [0, 1, 2, 3]
    assert [figures["global_loss"] for _, figures in heard["rounds"]] == [r["global_loss"] for r in rounds]
    losses = [client["local_loss"] for client in rounds[1]["clients"]]
    assert heard["rounds"][1][1]["local_loss"] == pytest.approx(sum(losses) / len(losses))
    assert heard["closed"] == 1
    run = heard["runs"][0]
    assert (run.study, run.cell, run.folder) == ("tiny", CELL, tmp_path)
    assert run.settings["local.learning_rate"] == 1e-2


def test_a_round_is_on_disk_when_a_tracker_hears_of_it(study, heard, tmp_path, monkeypatch):
    from cllora.runs import tracking

    there = []
    real = tracking.figures_of
    monkeypatch.setattr(
        tracking, "figures_of", lambda r: (there.append(len(read_rounds(tmp_path / CELL)) > r["round"]), real(r))[1]
    )
    cllora.run(study("ear"), tmp_path)
    assert there == [True] * 4


def test_a_run_that_goes_on_tells_all_of_it_to_the_same_run(study, heard, tmp_path):
    interrupted(study("ear"), tmp_path, round=1)
    cllora.run(study("ear"), tmp_path)
    assert [number for number, _ in heard["rounds"]] == [0, 1, 0, 1, 2, 3]
    assert heard["runs"][0].id == heard["runs"][1].id
    assert heard["closed"] == 2


def test_a_tracker_that_fails_costs_one_line_and_no_run(study, heard, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "cllora"):
        cllora.run(study("stone", "ear", seeds=2, federation__num_rounds=2), tmp_path)
    assert [len(read_rounds(tmp_path / f"seed={seed}")) for seed in (0, 1)] == [3, 3]
    assert len(heard["rounds"]) == 6
    lines = [record.getMessage() for record in caplog.records if "report_to" in record.getMessage()]
    assert lines == [
        "report_to: stone failed and is left out from here on; the runs go on (ConnectionError: no answer from anyone)"
    ]


def test_who_is_told_changes_no_number_and_may_change_on_the_way(study, heard, tmp_path):
    cllora.run(study(federation__num_rounds=1), tmp_path)
    before = (tmp_path / CELL / "rounds.jsonl").read_bytes()
    cllora.run(study("ear", seeds=2, federation__num_rounds=1), tmp_path)
    assert (tmp_path / CELL / "rounds.jsonl").read_bytes() == before
    assert [number for number, _ in heard["rounds"]] == [0, 1]
    assert heard["runs"][0].cell == "seed=1"


def test_names_are_checked_before_anything_runs(study, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        cllora.run(study("tensorbord"), tmp_path / "out")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'cllora\[wandb\]'"):
        cllora.run(study("wandb"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_name_is_a_list_of_one():
    assert Study.parse({"report_to": "wandb"}).report_to == ("wandb",)
    assert Study.parse({"report_to": "none"}).report_to == ()
    assert Study.parse({}, ["report_to=[mlflow, wandb]"]).report_to == ("mlflow", "wandb")
    with pytest.raises(UsageError, match="report_to"):
        Study.parse({"report_to": 5})


def test_figures_are_the_numbers_of_a_record():
    clients = [{"train_loss": 1.0, "local_loss": None}, {"train_loss": 2.0, "local_loss": None}]
    record = {
        "round": 2,
        "global_loss": 3.0,
        "flag": True,
        "nested": {"number": 0.5, "list": []},
        "clients": clients,
    }
    assert figures_of(record) == {"global_loss": 3.0, "nested.number": 0.5, "train_loss": 1.5}


# Stand-ins for packages that would want an account or a service: each writes its calls to calls.jsonl.
FAKES = {
    "wandb": """
import json
def note(*what):
    with open({file!r}, "a") as out: out.write(json.dumps(what) + "\\n")
class Run:
    def log(self, figures, step): note("log", step, figures["global_loss"])
    def finish(self): note("finish")
def init(*, project, name, id, resume, config, dir):
    note("init", project, name, config["lora.r"])
    return Run()
""",
    "trackio": """
import json
def note(*what):
    with open({file!r}, "a") as out: out.write(json.dumps(what) + "\\n")
def init(*, project, name, resume, config): note("init", project, name.split()[0], config["lora.r"])
def log(figures, step): note("log", step, figures["global_loss"])
def finish(): note("finish")
""",
}


@pytest.mark.parametrize("name", FAKES)
def test_packages_that_need_an_account_are_called_as_they_want_it(name, study, tmp_path, monkeypatch):
    calls = tmp_path / "calls.jsonl"
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / f"{name}.py").write_text(FAKES[name].format(file=str(calls)))
    monkeypatch.syspath_prepend(tmp_path / "fakes")
    monkeypatch.delitem(sys.modules, name, raising=False)
    cllora.run(study(name, federation__num_rounds=1), tmp_path / "out")
    monkeypatch.delitem(sys.modules, name)
    losses = [record["global_loss"] for record in read_rounds(tmp_path / "out" / CELL)]
    expected = [["init", "tiny", CELL, 2], *(["log", k, loss] for k, loss in enumerate(losses)), ["finish"]]
    assert [json.loads(line) for line in calls.read_text().splitlines()] == expected


def run_apart(code: str, *words: object) -> str:
    """Trackers bring warnings and threads of their own: each in a process apart."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


RUN = "import sys, cllora; cllora.run(sys.argv[1], sys.argv[2]); "


def test_tensorboard_writes_event_files(study, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'cllora[tensorboard]'")
    (tmp_path / "study.yaml").write_text(study("tensorboard").to_yaml())
    code = RUN + (
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as E; "
        "e = E(sys.argv[2] + '/tensorboard/seed=0'); e.Reload(); "
        "print([(s.step, s.value) for s in e.Scalars('global_loss')])"
    )
    found = eval(run_apart(code, tmp_path / "study.yaml", tmp_path / "out").splitlines()[-1])
    rounds = read_rounds(tmp_path / "out" / CELL)
    assert found == [(k, pytest.approx(record["global_loss"])) for k, record in enumerate(rounds)]


def test_mlflow_keeps_a_run_with_its_metrics(study, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install 'cllora[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "study.yaml").write_text(study("mlflow").to_yaml())
    code = RUN + (
        "import mlflow; r = mlflow.search_runs(experiment_names=['tiny'], output_format='list'); assert len(r) == 1; "
        "h = mlflow.MlflowClient().get_metric_history(r[0].info.run_id, 'global_loss'); "
        "print([(m.step, m.value) for m in h]); print(r[0].data.params['lora.r'], r[0].info.run_name)"
    )
    *_, found, last = run_apart(code, tmp_path / "study.yaml", tmp_path / "out").splitlines()
    rounds = read_rounds(Path(tmp_path / "out" / CELL))
    assert eval(found) == [(k, pytest.approx(record["global_loss"])) for k, record in enumerate(rounds)]
    assert last == "2 seed=0"
