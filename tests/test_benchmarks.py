"""The studies of benchmarks, which no test runs, are studies that can be run."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from cllora.runs.study import check

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_length_skew_has_a_cell_for_every_alpha_and_seed(benchmark: Any) -> None:
    study = benchmark("studies").length_skew(3, ["model.precision=float32"])
    check(study)
    assert [cell.name for cell in study.cells()] == [f"alpha={a},seed={s}" for a in (0.1, "iid") for s in range(3)]
    assert {cell.experiment.model.precision for cell in study.cells()} == {"float32"}


def test_cells_together_are_eight_of_one_base(benchmark: Any) -> None:
    study = benchmark("together").study("embedded-64", 2, 4, 3)
    check(study)
    assert (len(study.cells()), study.engine.options["together"]) == (8, 4)
    assert {cell.experiment.local.batch_size for cell in study.cells()} == {2}
