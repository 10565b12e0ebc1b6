"""Cells computed together: the same folder however a study is interrupted, near to that of one by one."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

import cllora
from cllora.model import learner as module
from cllora.model.engine import Evaluation
from cllora.model.learner import Learner
from cllora.runs import CellsFailed
from cllora.runs import cell as running
from cllora.spec import Study
from cllora.store import committed_round, read_json, read_losses, read_rounds
from support.learning import learner_of, random_adapter
from support.studies import interrupted, numbers, study_fields

STEPS = 3
TOGETHER = {"name": "inline", "threads": 1, "together": 4}


@pytest.fixture(scope="module")
def fields(tiny_models, texts):
    """Four cells of two seeds; their clients' batches are small."""
    local = {"steps": STEPS, "batch_size": 4, "learning_rate": 1e-2}
    return {**study_fields(tiny_models("opt"), texts, seeds=2, local=local), "engine": TOGETHER}


def counted_groups(patch):
    """The number of clients in every pass of training from here on."""
    sizes = []
    gradients = Learner.gradients

    def counting(self, batches, *arguments):
        sizes.append(len(batches))
        return gradients(self, batches, *arguments)

    patch.setattr(Learner, "gradients", counting)
    return sizes


@pytest.fixture
def groups(monkeypatch):
    return counted_groups(monkeypatch)


def followed(fields, folder):
    """A study run straight through: its folder, its passes' clients and the rounds in the order they were told of."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        sizes = counted_groups(patch)
        cllora.run(Study.parse(fields), folder, on_progress=told.append)
    return SimpleNamespace(folder=folder, groups=sizes, rounds=[progress.round for progress in told])


@pytest.fixture(scope="module")
def whole(fields, tmp_path_factory):
    return followed(fields, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def alone(fields, tmp_path_factory):
    return followed({**fields, "engine": "inline"}, tmp_path_factory.mktemp("alone"))


def test_cells_that_share_a_base_train_in_the_same_passes_and_come_to_what_they_come_to_alone(fields, whole, alone):
    assert whole.groups == [8] * STEPS * 3
    assert whole.rounds == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert alone.groups == [2] * STEPS * 12
    assert read_json(whole.folder / "pins.json")["together"] == ["4"]
    for cell in Study.parse(fields).cells():
        ours, theirs = (read_losses(one.folder / cell.name) for one in (whole, alone))
        assert ours.drop(columns="nll").equals(theirs.drop(columns="nll"))
        np.testing.assert_allclose(ours.nll, theirs.nll, rtol=1e-3)
        rounds = [read_rounds(one.folder / cell.name) for one in (whole, alone)]
        clients = [[[client["client"] for client in record["clients"]] for record in records] for records in rounds]
        assert clients[0] == clients[1]


def test_small_evaluations_share_a_pass(fields, alone, tmp_path, monkeypatch):
    monkeypatch.setitem(module.EVALUATED_TOGETHER, "cpu", 10**6)
    out = cllora.run(Study.parse(fields), tmp_path / "out")
    for cell in Study.parse(fields).cells():
        ours, theirs = (read_losses(folder / cell.name) for folder in (out, alone.folder))
        np.testing.assert_allclose(ours.nll, theirs.nll, rtol=1e-3)


@pytest.mark.parametrize("most", [0, 10**6])
def test_several_evaluations_are_those_of_each(most, tiny_models, monkeypatch):
    monkeypatch.setitem(module.EVALUATED_TOGETHER, "cpu", most)
    learner = learner_of(tiny_models("llama"))
    asked = [
        Evaluation("a", random_adapter(learner), np.arange(30)),
        Evaluation("b", random_adapter(learner, 2), np.array([5, 3]), 7),
        Evaluation("c", random_adapter(learner, 3), np.zeros(0, np.int64)),
        Evaluation("d", learner.initial(0), np.arange(3, 9)),
    ]
    for one, losses in zip(asked, learner.evaluate_all(asked), strict=True):
        alone = learner.evaluate(one.model, one.adapter, one.ids, one.context)
        assert losses.model == one.model
        assert np.array_equal(losses.sample, one.ids)
        assert np.array_equal(losses.tokens, alone.tokens)
        np.testing.assert_allclose(losses.nll, alone.nll, rtol=1e-5 if most else 0)
    assert learner.evaluate_all([]) == []


@pytest.mark.parametrize("at", [{"round": 1, "index": 0}, {"round": 2, "index": 3}, {"round": 3, "index": 1}])
def test_an_interrupted_study_goes_on_in_the_same_groups(at, fields, whole, tmp_path):
    interrupted(Study.parse(fields), tmp_path / "out", **at)
    assert [committed_round(place) for place in sorted((tmp_path / "out").glob("alpha=*"))] == [at["round"]] * 4
    # Whatever is asked for now, the study keeps to what it began with.
    again = cllora.run(Study.parse({**fields, "engine": "inline"}), tmp_path / "out")
    assert numbers(again) == numbers(whole.folder)


def test_rounds_are_put_on_disk_of_all_cells_or_of_none(fields, whole, tmp_path, monkeypatch):
    """Ctrl-C while one cell's round has been written and those of the others have not."""
    study = Study.parse(fields)
    save = running.save_round

    def interrupting(folder, after):
        save(folder, after)
        if after.number == 2 and folder.name == study.cells()[1].name:
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "save_round", interrupting)
    with pytest.raises(KeyboardInterrupt):
        cllora.run(study, tmp_path / "out")
    monkeypatch.undo()
    assert [committed_round(place) for place in sorted((tmp_path / "out").glob("alpha=*"))] == [2] * 4
    assert numbers(cllora.run(study, tmp_path / "out")) == numbers(whole.folder)


def test_a_study_that_began_with_cells_alone_goes_on_so(fields, groups, tmp_path):
    interrupted(Study.parse({**fields, "engine": "inline"}), tmp_path / "out", round=1)
    cllora.run(Study.parse(fields), tmp_path / "out")
    assert set(groups) == {2}
    assert "together" not in read_json(tmp_path / "out" / "pins.json")


def test_cells_of_different_bases_stay_apart(fields, groups, tmp_path):
    by_rank = {**fields, "grid": {"lora.r": [2, 3]}, "control": {"lora.r": 2}}
    cllora.run(Study.parse(by_rank), tmp_path)
    assert groups == [4] * STEPS * 6


WILD = '''
from dataclasses import replace
from cllora.federated import strategies

@strategies.register("wild")
def wild(setting):
    """FedAvg whose clients begin at numbers that are none in round 2."""
    average = strategies.get("fedavg")(setting)

    def send(state, turn):
        return {name: array * (float("nan") if turn.round == 2 else 1) for name, array in state.items()}

    return replace(average, send=send)
'''


def test_a_cell_that_diverges_takes_no_other_along(fields, groups, tmp_path):
    (tmp_path / "wild.py").write_text(WILD)
    grid = {"federation.strategy": ["fedavg", "wild"]}
    more = {"grid": grid, "control": {"federation.strategy": "fedavg"}, "load": [str(tmp_path / "wild.py")]}
    with pytest.raises(CellsFailed, match="not a number any more") as failed:
        cllora.run(Study.parse({**fields, **more}), tmp_path / "out")
    assert sorted(failed.value.failed) == ["strategy=wild,seed=0", "strategy=wild,seed=1"]
    assert groups == [*[8] * STEPS * 2, *[1] * STEPS * 8, *[4] * STEPS]
    for seed in (0, 1):
        rounds = read_rounds(tmp_path / "out" / f"strategy=fedavg,seed={seed}")
        assert np.isfinite([record["global_loss"] for record in rounds]).all()
        assert len(rounds) == 4


FAILING = '''
import pandas as pd
from cllora.probes import probes

@probes.register(when="round", title="failing")
def failing(model, moment, *, error: str):
    """Fails in the second round of the cell of seed 1."""
    if moment.round == 2 and moment.seed == 1:
        raise eval(error)
    return pd.DataFrame({"loss": [float(model.evaluate("x", moment.model, moment.texts[:5]).nll.sum())]})
'''


@pytest.fixture
def failing(fields, tmp_path):
    """A study whose cells of seed 1 fail in their second round with an error."""

    def make(error):
        (tmp_path / "failing.py").write_text(FAILING)
        probe = {"name": "failing", "error": error}
        more = {"evaluation": {"probes": [probe]}, "load": [str(tmp_path / "failing.py")]}
        return Study.parse({**fields, **more})

    return make


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(failing, tmp_path):
    study = failing("RuntimeError('no')")
    for _ in range(2):
        with pytest.raises(CellsFailed, match=r"RuntimeError in line 9 of .*failing\.py: no"):
            cllora.run(study, tmp_path / "out")
        places = sorted((tmp_path / "out").glob("alpha=*"))
        assert [committed_round(place) for place in places] == [3, 1, 3, 1]
        assert [(place / "failed.json").exists() for place in places] == [False, True, False, True]


def test_a_full_disk_stops_all_of_them(failing, tmp_path):
    with pytest.raises(OSError, match="No space left"):
        cllora.run(failing(f"OSError({errno.ENOSPC}, 'No space left on device')"), tmp_path / "out")
    assert [committed_round(place) for place in (tmp_path / "out").glob("alpha=*")] == [1] * 4


def test_what_cannot_be_trained_together_is_trained_in_halves(fields, groups, tmp_path, monkeypatch, caplog):
    """No more memory than there is: from then on so many cells at a time."""
    import torch

    train = Learner.train

    def narrow(self, jobs, local, seed):
        if len(jobs) > 4:
            raise torch.OutOfMemoryError("no room")
        return train(self, jobs, local, seed)

    monkeypatch.setattr(Learner, "train", narrow)
    cllora.run(Study.parse(fields), tmp_path)
    assert groups == [4] * STEPS * 6
    assert caplog.text.count("out of memory: from now on 2 cells at a time") == 1
