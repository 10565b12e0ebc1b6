"""Studies that run to their end with nobody there: a bad cell is recorded, the others go on, the time left is right."""

import errno
import json
import sys

import pytest

import cllora
from cllora import cli
from cllora.errors import UsageError
from cllora.progress import Tally, span
from cllora.runs import CellsFailed
from cllora.runs.study import Progress
from cllora.spec import Study
from cllora.store import read_rounds
from support.studies import study_fields

RANKS = {"grid": {"lora.target_modules": [["q_proj"], ["quary"], ["v_proj"]]}, "control": {}}
"""Three cells, the second of which names modules that the model does not have."""


@pytest.fixture
def study(tiny_models, texts):
    return Study.parse(study_fields(tiny_models("opt"), texts, **RANKS))


def test_a_bad_cell_is_recorded_and_the_others_go_on(study, tmp_path):
    seen = []
    with pytest.raises(CellsFailed, match="1 of 3 cells failed") as caught:
        cllora.run(study, tmp_path, on_progress=seen.append)
    assert caught.value.folder == tmp_path
    assert not caught.value.all
    assert list(caught.value.failed) == ["target_modules=quary,seed=0"]
    assert "\n" not in str(caught.value)
    recorded = json.loads((tmp_path / "target_modules=quary,seed=0" / "failed.json").read_text())
    assert "lora.target_modules" in recorded["error"]
    assert recorded["error"] in str(caught.value)
    for name in ("q_proj", "v_proj"):
        assert len(read_rounds(tmp_path / f"target_modules={name},seed=0")) == 4
    assert [progress.failed is not None for progress in seen].count(True) == 1
    tally = Tally()
    for progress in seen:
        tally.count(progress)
    assert (tally.done, tally.total, tally.cells, tally.failed) == (8, 8, 3, 1)


def test_running_again_tries_what_failed_and_nothing_else(tiny_models, texts, tmp_path, monkeypatch):
    from cllora.runs import cell

    real, broken = cell.assign, [True]

    def assign(experiment, *others):
        if broken and experiment.partition.options["alpha"] == 0.1:
            raise OSError(errno.EIO, "Input/output error", "disk")
        return real(experiment, *others)

    monkeypatch.setattr(cell, "assign", assign)
    study = Study.parse(study_fields(tiny_models("opt"), texts, federation__num_rounds=1))
    with pytest.raises(CellsFailed, match="disk: Input/output error"):
        cllora.run(study, tmp_path)
    assert (tmp_path / "alpha=0.1,seed=0" / "failed.json").exists()
    broken.clear()
    seen = []
    cllora.run(study, tmp_path, on_progress=seen.append)
    assert not list(tmp_path.rglob("failed.json"))
    assert [p.cell.name for p in seen if p.resumed] == ["alpha=iid,seed=0"]
    assert len(read_rounds(tmp_path / "alpha=0.1,seed=0")) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_and_a_full_disk_stop_the_study(tiny_models, texts, tmp_path, monkeypatch, error):
    from cllora.runs import cell

    def assign(experiment, *others):
        raise error

    monkeypatch.setattr(cell, "assign", assign)
    with pytest.raises(type(error)):
        cllora.run(Study.parse(study_fields(tiny_models("opt"), texts)), tmp_path)
    assert not list(tmp_path.rglob("failed.json"))


def test_a_cell_that_is_too_large_for_the_machine_does_not_stop_the_others(tiny_models, texts, tmp_path, monkeypatch):
    import torch

    from cllora.runs import cell

    real = cell.assign

    def assign(experiment, *others):
        if experiment.partition.options["alpha"] == 0.1:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return real(experiment, *others)

    monkeypatch.setattr(cell, "assign", assign)
    with pytest.raises(CellsFailed, match=r"out of memory .*lower local.batch_size"):
        cllora.run(Study.parse(study_fields(tiny_models("opt"), texts, federation__num_rounds=1)), tmp_path)
    assert len(read_rounds(tmp_path / "alpha=iid,seed=0")) == 2


def test_an_error_in_a_strategy_of_ones_own_does_not_stop_the_others(tiny_models, texts, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("""\
from cllora.federated import algorithms, strategies

@strategies.register()
def divided(num_clients, *, by: float = 1):
    1 / by
    return algorithms.fedavg(num_clients)
""")
    fields = study_fields(tiny_models("opt"), texts, load=[str(plugin)], control={})
    fields["federation"] |= {"strategy": "divided", "num_rounds": 1}
    fields["grid"] = {"federation.strategy.by": [0, 1]}
    with pytest.raises(CellsFailed, match=r"1 of 2 .* ZeroDivisionError in line 5 of .*mine\.py: float division"):
        cllora.run(Study.parse(fields), tmp_path / "out")
    recorded = json.loads((tmp_path / "out" / "by=0,seed=0" / "failed.json").read_text())
    assert recorded["traceback"][-1] == "ZeroDivisionError: float division by zero"
    assert len(read_rounds(tmp_path / "out" / "by=1,seed=0")) == 2


def test_what_cannot_be_loaded_is_tried_once(tiny_models, texts, tmp_path, monkeypatch):
    from cllora.runs import study_cache

    tries = []

    def samples_of(experiment, on_corpus):
        tries.append(experiment)
        raise UsageError("no such texts")

    monkeypatch.setattr(study_cache, "samples_of", samples_of)
    with pytest.raises(UsageError, match=r"^no such texts$"):
        cllora.run(Study.parse(study_fields(tiny_models("opt"), texts, seeds=3)), tmp_path)
    assert len(tries) == 1
    assert len(list(tmp_path.rglob("failed.json"))) == 6


def test_the_command_line_reports_what_there_is_and_ends_with_2(tiny_models, texts, tmp_path, monkeypatch, capsys):
    grid = {"lora.target_modules": [["q_proj"], ["quary"]]}
    fields = study_fields(tiny_models("opt"), texts, grid=grid, control={}, federation__num_rounds=1)
    (tmp_path / "study.yaml").write_text(Study.parse(fields).to_yaml())
    monkeypatch.setattr(sys, "argv", ["cllora", "run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert "q_proj" in out
    assert "Report: " in out
    lines = err.splitlines()
    assert lines[0].startswith("cllora: 1 of 2 cells, target_modules=q_proj,seed=0")
    assert lines[-1].startswith("cllora: 1 of 2 cells failed, see failed.json in their folders; run again to retry. ")
    assert "target_modules=quary,seed=0: " in lines[-1]


def test_many_reasons_are_still_one_line(tmp_path):
    many = CellsFailed(tmp_path, {f"seed={k}": f"reason {k // 2}" for k in range(12)}, 20)
    assert str(many).startswith("12 of 20 cells failed")
    assert "seed=0 and 1 more: reason 0" in str(many)
    assert str(many).endswith("and for 3 other reasons")
    assert str(CellsFailed(tmp_path, {"a": "why", "b": "why"}, 2)) == "why"


def events(*each):
    """Progress of cells of 3 rounds, each given as (cell, round) or (cell, "resumed" or "failed")."""
    for index, what in each:
        number = what if isinstance(what, int) else 3
        yield Progress(None, 4, index, number, 3, what == "resumed", 16, "why" if what == "failed" else None)


@pytest.mark.parametrize(
    ("each", "done", "total", "cells"),
    [
        ([(0, 0), (0, 1)], 2, 16, 0),
        ([(0, "resumed"), (1, 0)], 1, 12, 1),
        ([(0, 2), (0, 3)], 2, 14, 1),
        ([(0, "failed"), (1, 0)], 1, 12, 1),
        ([(0, 0), (0, 1), (0, "failed"), (1, 0)], 3, 14, 1),
        ([(0, 2), (0, "failed")], 1, 13, 1),
        ([(0, "resumed"), (1, "failed"), (2, "resumed"), *((3, k) for k in range(4))], 4, 4, 4),
    ],
)
def test_the_tally_leaves_out_what_takes_no_time(each, done, total, cells):
    tally = Tally()
    for progress in events(*each):
        tally.count(progress)
    assert (tally.done, tally.total, tally.cells) == (done, total, cells)
    assert tally.seconds_left(60) == pytest.approx(60 / done * (total - done))


def test_times_are_said_as_people_say_them():
    assert [span(40), span(725), span(11100), span(3599.9)] == ["40 s", "12 min", "3 h 5 min", "1 h 0 min"]
