"""What the course of a loss comes to, on made-up curves."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.metrics import RunRecord, Tables, curves, metrics
from cllora.seeds import rng
from cllora.types import Partition
from support.synthetic import record_of

losses = st.lists(st.floats(0, 10), min_size=4, max_size=25)


def curve(*loss: float) -> pd.DataFrame:
    return pd.DataFrame({"round": range(len(loss)), "loss": loss})


def test_area_is_the_mean_change_over_the_way() -> None:
    assert curves.area(curve(4.0, 3.0, 3.0)) == pytest.approx(-0.75)  # (-0.5 - 1) / 2
    skipped = pd.DataFrame({"round": [0, 2, 3], "loss": [4.0, 3.0, 3.0]})
    assert curves.area(skipped) == pytest.approx(-2 / 3)  # (-1 - 1) / 3


def test_who_learns_early_has_the_lower_area() -> None:
    assert curves.area(curve(4, 3, 3, 3)) < curves.area(curve(4, 4, 4, 3))


def test_area_wants_a_base_and_a_round() -> None:
    assert math.isnan(curves.area(curve(4.0)))
    assert math.isnan(curves.area(pd.DataFrame({"round": [1, 2], "loss": [4.0, 3.0]})))


@given(st.floats(-1, 1), st.integers(4, 30))
def test_a_straight_trend_is_no_oscillation(slope: float, rounds: int) -> None:
    straight = 3.0 + slope * np.arange(rounds + 1)
    assert curves.oscillation(curve(*straight)) == pytest.approx(0, abs=1e-9)


def test_oscillation_is_of_successive_differences() -> None:
    """sqrt(pi / 12) times the mean of |1 - 2 * 3 + 2| = 3 and |3 - 2 * 2 + 4| = 3; round 0 is no part of it."""
    assert curves.oscillation(curve(9.0, 1.0, 3.0, 2.0, 4.0)) == pytest.approx(3 * math.sqrt(math.pi / 12))


@pytest.mark.parametrize("swing", [0.01, 0.1])
def test_a_zigzag_oscillates_by_its_swing_whatever_its_trend(swing: float) -> None:
    for slope in (0.0, -0.05):
        zigzag = 3 + slope * np.arange(41) + swing * (-1.0) ** np.arange(41)
        assert curves.oscillation(curve(*zigzag)) == pytest.approx(4 * math.sqrt(math.pi / 12) * swing)


@pytest.mark.parametrize("rounds", [4, 8, 20])
def test_oscillation_is_the_noise_s_deviation_at_any_number_of_rounds(rounds: int) -> None:
    """Of four evaluated rounds, too, it is not nothing by chance: what a fitted curve leaves of them often is."""
    draws = rng(0, "oscillation", rounds).normal(0, 1, (1000, rounds + 1)) + np.arange(rounds + 1)
    found = np.array([curves.oscillation(curve(*each)) for each in draws])
    assert found.mean() == pytest.approx(1, abs=4 * found.std() / math.sqrt(len(found)))
    assert (found > 0).all()
    assert (found < 0.1).mean() < 0.02


@given(losses, st.floats(0.1, 10), st.floats(-5, 5))
def test_oscillation_moves_with_the_unit_and_not_with_the_level(values: list[float], unit: float, level: float) -> None:
    first = curves.oscillation(curve(9.0, *values))
    moved = curves.oscillation(curve(9.0, *(unit * np.array(values) + level)))
    assert moved == pytest.approx(unit * first, abs=1e-6)


def test_too_few_rounds_show_no_oscillation() -> None:
    assert math.isnan(curves.oscillation(curve(4, 3, 4, 3)))
    assert curves.oscillation(curve(4, 3, 4, 3, 4)) > 0


def test_late_is_the_mean_after_half_of_the_rounds() -> None:
    assert curves.late(curve(9.0, 5.0, 4.0, 3.0, 2.0), "loss") == 2.5  # rounds 3 and 4 of 4
    assert curves.late(curve(9.0, 5.0, 4.0, 3.0), "loss") == 3.5  # rounds 2 and 3 of 3
    seldom = pd.DataFrame({"round": [0, 4, 8], "loss": [9.0, 5.0, 3.0]})
    assert curves.late(seldom, "loss") == 3.0
    assert curves.late(curve(9.0), "loss") == 9.0  # of the base alone


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
