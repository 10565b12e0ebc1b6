"""What the course of a loss comes to, on made-up curves."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.metrics import RunRecord, Tables, curves, metrics
from cllora.types import Partition
from support.synthetic import record_of

losses = st.lists(st.floats(0, 10), min_size=4, max_size=25)


def curve(*loss: float) -> pd.DataFrame:
    return pd.DataFrame({"round": range(len(loss)), "loss": loss})


def smooth(rounds: int = 20) -> np.ndarray:
    return 3.0 + np.exp(-np.arange(rounds + 1) / 4)


def test_area_is_the_mean_change_over_the_way() -> None:
    assert curves.area(curve(4.0, 3.0, 3.0)) == pytest.approx(-0.75)  # (-0.5 - 1) / 2
    skipped = pd.DataFrame({"round": [0, 2, 3], "loss": [4.0, 3.0, 3.0]})
    assert curves.area(skipped) == pytest.approx(-2 / 3)  # (-1 - 1) / 3


def test_who_learns_early_has_the_lower_area() -> None:
    assert curves.area(curve(4, 3, 3, 3)) < curves.area(curve(4, 4, 4, 3))


def test_area_wants_a_base_and_a_round() -> None:
    assert math.isnan(curves.area(curve(4.0)))
    assert math.isnan(curves.area(pd.DataFrame({"round": [1, 2], "loss": [4.0, 3.0]})))


def test_valley() -> None:
    assert curves.valley([5, 3, 4, 2, 6]).tolist() == pytest.approx([5, 3.5, 3.5, 2, 6])
    assert curves.valley([1, 2, 3]).tolist() == [1, 2, 3]


@given(losses)
def test_a_valley_falls_and_then_rises_and_nothing_that_does_is_nearer(values: list[float]) -> None:
    fit = curves.valley(values)
    steps = np.diff(fit)
    turn = int(np.argmax(steps > 1e-9)) if (steps > 1e-9).any() else len(steps)
    assert (steps[:turn] <= 1e-9).all()
    assert (steps[turn:] >= -1e-9).all()
    flat = np.full(len(values), np.mean(values))
    assert ((values - fit) ** 2).sum() <= ((values - flat) ** 2).sum() + 1e-9


@pytest.mark.parametrize("overfits", [0.0, 0.02, 0.5])
def test_learning_and_over_fitting_are_no_oscillation(overfits: float) -> None:
    rounds = np.arange(21)
    loss = smooth() + overfits * np.maximum(0, rounds - 8)
    assert curves.oscillation(curve(*loss)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("swing", [0.01, 0.1])
def test_a_zigzag_on_a_plateau_oscillates_by_its_swing(swing: float) -> None:
    zigzag = 3 + swing * (-1.0) ** np.arange(41)
    assert curves.oscillation(curve(*zigzag)) == pytest.approx(swing, rel=0.06)


def test_a_zigzag_is_found_under_a_trend() -> None:
    found = [curves.oscillation(curve(*(smooth() + a * (-1.0) ** np.arange(21)))) for a in (0.0, 0.02, 0.1, 0.3)]
    assert found == sorted(found)
    assert found[1] > 0.01
    assert found[3] == pytest.approx(0.3, rel=0.2)


@given(losses, st.floats(0.1, 10), st.floats(-5, 5))
def test_oscillation_moves_with_the_unit_and_not_with_the_level(values: list[float], unit: float, level: float) -> None:
    first = curves.oscillation(curve(9.0, *values))
    moved = curves.oscillation(curve(9.0, *(unit * np.array(values) + level)))
    assert moved == pytest.approx(unit * first, abs=1e-6)


def test_too_few_rounds_show_no_oscillation() -> None:
    assert math.isnan(curves.oscillation(curve(4, 3, 4, 3)))
    assert curves.oscillation(curve(4, 3, 4, 3, 4)) > 0


def test_rounds_to_a_loss_and_censoring() -> None:
    seen = pd.DataFrame({"round": [0, 2, 4], "loss": [4.0, 3.0, 3.5]})
    assert curves.rounds_to(seen, 3.0) == (2, True)
    assert curves.rounds_to(seen, 2.9) == (4, False)
    assert curves.rounds_to(seen, 9.0) == (0, True)


def test_forgetting_by_class() -> None:
    rows = [(0, 0, 4.0), (1, 0, 3.0), (2, 0, 3.4), (3, 0, 3.1), (0, 1, 5.0), (1, 1, 5.2), (2, 1, 4.0), (3, 1, 3.0)]
    lost = curves.forgetting(pd.DataFrame(rows, columns=["round", "class", "loss"]))
    assert lost["class"].tolist() == [0, 1]
    assert lost["forgotten"].tolist() == pytest.approx([0.4, 0.2])  # of what was learned; of what the base knew
    assert lost["round"].tolist() == [2, 1]
    assert lost["forgotten_at_end"].tolist() == pytest.approx([0.1, 0.0])
    assert curves.forgetting(pd.DataFrame({"round": [], "class": [], "loss": []})).empty


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_nothing_is_forgotten_by_a_class_that_only_improves(values: list[float]) -> None:
    falling = pd.DataFrame({"round": range(len(values)), "class": 0, "loss": sorted(values, reverse=True)})
    assert curves.forgetting(falling)["forgotten"].tolist() == [0]


def run_of(*loss: float) -> RunRecord:
    empty = Partition(*(np.zeros(n, np.int64) for n in (0, 1, 0, 1, 0)))
    seen = curve(*loss)
    return record_of(Tables(seen, seen, seen, seen, seen), [], empty)


def test_rounds_to_the_control_s_final_loss() -> None:
    control = run_of(4, 3.0, 2.9, 3.0)
    rounds, reached = (metrics.metric(name) for name in ("rounds_to_control", "reached_control"))
    assert (rounds.value(run_of(4, 3.5, 3.2, 3.3), control), reached.value(run_of(4, 3.5, 3.2, 3.3), control)) == (3, 0)
    assert (rounds.value(run_of(4, 2.9, 2.8, 2.9), control), reached.value(run_of(4, 2.9, 2.8, 2.9), control)) == (1, 1)
    assert rounds.value(control, control) == 1
