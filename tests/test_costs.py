"""What local training costs: seconds, tokens, and the peak memory of training alone."""

import sys

import numpy as np
import pytest
import torch

from cllora.model import machine
from cllora.model.machine import forget_peak, peak_memory
from cllora.runs import run
from cllora.runs.cell import costs
from cllora.spec import Study
from cllora.store import read_json, read_rounds
from support.studies import interrupted, study_fields

CPU = torch.device("cpu")
MANY = 200_000_000
measurable = pytest.mark.skipif(not forget_peak(CPU), reason="peak memory cannot be measured here")


@measurable
def test_the_peak_is_what_was_in_use_since_it_was_forgotten():
    forget_peak(CPU)
    before = peak_memory(CPU)
    held = np.ones(MANY, np.uint8)
    del held
    assert 0.9 * MANY < peak_memory(CPU) - before < 1.2 * MANY
    forget_peak(CPU)
    assert peak_memory(CPU) - before < 0.2 * MANY


@measurable
def test_memory_that_is_kept_for_the_next_step_is_not_in_the_next_peak():
    machine.keep_freed_memory()
    forget_peak(CPU)
    before = peak_memory(CPU)
    for _ in range(2):
        parts = [torch.ones(MANY // 100, dtype=torch.uint8) for _ in range(100)]
        del parts
    assert peak_memory(CPU) - before > 0.9 * MANY
    forget_peak(CPU)
    assert peak_memory(CPU) - before < 0.2 * MANY


def test_a_system_that_does_not_tell_is_not_asked(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not forget_peak(CPU)


def test_costs_are_those_of_training_and_a_peak_only_of_all_rounds():
    rounds = [
        {"seconds": 9.0, "clients": []},
        {"seconds": 9.0, "clients": [{"seconds": 1.0, "tokens": 30}, {"seconds": 0.5, "tokens": 10}]},
        {"seconds": 9.0, "clients": [{"seconds": 2.0, "tokens": 5}]},
    ]
    assert costs(rounds, [3_000_000, 3_000_000, 2_000_000]) == {
        "training_seconds": 3.5,
        "trained_tokens": 45,
        "peak_mb": 3.0,
    }
    for peaks in ([2_000_000], [None, 3_000_000, 2_000_000], []):
        assert costs(rounds, peaks)["peak_mb"] is None


def test_a_run_says_its_costs_and_a_resumed_one_no_peak(tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, evaluation={"every": 3})
    fields["data"] |= {"limit": 60}
    fields |= {"partition": {"num_clients": 2, "scheme": "iid"}, "grid": {}, "control": {}}
    study = Study.parse({**fields, "seeds": 2})
    folder = run(study, tmp_path / "whole")
    for cell in (folder / "seed=0", folder / "seed=1"):
        found = read_json(cell / "costs.json")
        clients = [client for record in read_rounds(cell) for client in record["clients"]]
        assert found["trained_tokens"] == sum(client["tokens"] for client in clients) > 0
        assert found["training_seconds"] == pytest.approx(sum(client["seconds"] for client in clients), abs=1e-3)
        assert found["peak_mb"] is None or 50 < found["peak_mb"] < 20_000
        assert (found["peak_mb"] is None) == (not forget_peak(CPU))
    interrupted(study, tmp_path / "stopped", round=1)
    run(study, tmp_path / "stopped")
    resumed, whole = (read_json(tmp_path / it / "seed=0" / "costs.json") for it in ("stopped", "whole"))
    assert resumed["trained_tokens"] == whole["trained_tokens"]
    assert resumed["peak_mb"] is None
