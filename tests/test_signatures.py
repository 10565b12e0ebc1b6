"""Every rule on made-up curves that show what it looks for, and on curves that do not."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cllora.metrics import losses, signatures
from cllora.metrics.fairness import between
from cllora.metrics.signatures import Signature

values = st.lists(st.floats(0, 10), min_size=1, max_size=25)


def curve(*loss: float) -> pd.DataFrame:
    return pd.DataFrame({"round": range(len(loss)), "loss": loss})


def clients(changes: dict[int, list[float]], error: float = 0.001) -> pd.DataFrame:
    """Each client's change against the base, from round 0 on, and its standard error; all bases are 4."""
    rows = [
        {"round": t, "client": k, "loss": 4 + x, "base": 4.0, "change": x, "ratio": (4 + x) / 4, "error": error}
        for k, of in changes.items()
        for t, x in enumerate(of)
    ]
    return pd.DataFrame(rows)


def turns(*rows: tuple[int, int, float, float, float], last: int = 20) -> pd.DataFrame:
    columns = ["round", "client", "train_loss", "own_local", "test_local"]
    return pd.DataFrame(rows, columns=columns).assign(last=last)


def places(found: list[Signature]) -> list[tuple[int, int | None]]:
    return [(each.round, each.client) for each in found]


def test_an_oscillating_loss_is_marked_at_its_peaks() -> None:
    found = signatures.global_oscillation(curve(4.0, 3.5, 3.7, 3.4, 3.8, 3.3, 3.4, 3.2))
    assert places(found) == [(2, None), (4, None), (6, None)]  # h = 0.08
    assert [each.size for each in found] == pytest.approx([0.2, 0.4, 0.1])


@pytest.mark.parametrize(
    "loss",
    [
        (4.0, 3.6, 3.4, 3.3, 3.2),
        (4.0, 3.4, 3.2, 3.5, 3.9),  # over-fits
        (4.0, 3.4, 3.9, 3.3, 3.2),  # once
        (4.0, 3.5, 3.505, 3.4, 3.405, 3.3, 3.305, 3.2),  # by less than matters
        (4.0, 3.0, 3.05, 3.0, 3.05, 3.0),  # by 5 % of what was gained
        (4.0,),
    ],
)
def test_what_is_no_oscillation(loss: tuple[float, ...]) -> None:
    assert signatures.global_oscillation(curve(*loss)) == []


def test_the_thresholds_of_oscillation_are_the_reader_s() -> None:
    once = curve(4.0, 3.4, 3.9, 3.3, 3.2)
    assert places(signatures.global_oscillation(once, peaks=1)) == [(2, None)]
    assert places(signatures.global_oscillation(curve(4.0, 3.0, 3.05, 3.0, 3.05, 3.0), share=0.01)) == [
        (2, None),
        (4, None),
    ]


@given(values, values)
def test_what_falls_and_then_rises_never_oscillates(falls: list[float], rises: list[float]) -> None:
    assert signatures.global_oscillation(curve(11, *sorted(falls, reverse=True), *sorted(rises)), peaks=1) == []


@given(st.floats(0.05, 1), st.integers(2, 10))
def test_every_zigzag_oscillates(swing: float, times: int) -> None:
    found = signatures.global_oscillation(curve(3.0, *([3.0, 3.0 + swing] * times), 3.0))
    assert places(found) == [(2 * i + 2, None) for i in range(times)]


@given(values)
def test_a_peak_rises_and_falls_by_the_height_asked_for(loss: list[float]) -> None:
    found = signatures.global_oscillation(curve(0.0, *loss), peaks=1, floor=0.5, share=0.0)
    for each in found:
        assert each.size >= 0.5
        assert min(loss[each.round - 1 :]) <= loss[each.round - 1] - 0.5


def test_divergence_is_marked_where_it_begins() -> None:
    found = signatures.divergence(curve(4.0, 3.8, 4.05, 4.2, 4.6, 5.0))
    assert places(found) == [(3, None)]
    assert found[0].size == pytest.approx(0.2)
    assert places(signatures.divergence(curve(4.0, 3.8, 4.5))) == [(2, None)]  # where it ends
    assert places(signatures.divergence(curve(4.0, 3.8, math.nan))) == [(2, None)]
    assert places(signatures.divergence(curve(4.0, 3.8, math.inf, 3.7))) == [(2, None)]


@pytest.mark.parametrize("loss", [(4.0, 3.9, 3.8), (4.0, 4.3, 3.9, 3.8), (4.0, 4.05, 4.08), (4.0,)])
def test_what_is_no_divergence(loss: tuple[float, ...]) -> None:
    assert signatures.divergence(curve(*loss)) == []


@given(values)
def test_what_never_exceeds_the_base_never_diverges(loss: list[float]) -> None:
    assert signatures.divergence(curve(10, *loss)) == []


def test_fairness_collapses_where_clients_part_by_more_than_the_gain() -> None:
    parting = clients({0: [0, -0.2, -0.3, -0.5, -0.6], 1: [0, -0.2, -0.1, 0.2, 0.4]})  # mean gain at most 0.2
    found = signatures.fairness_collapse(parting)
    assert places(found) == [(3, 1)]
    assert found[0].size == pytest.approx(0.7 / math.sqrt(2), abs=1e-4)  # of 0.2 and -0.5, divided by K - 1
    assert signatures.fairness_collapse(parting, k=5) == []


def test_few_test_texts_do_not_make_a_collapse() -> None:
    """The rule fired in 42 % of studies of quantity skew in which one model served all clients alike: of those that are
    tested on a single text the change is mostly that text's. What their standard errors explain is no unfairness."""
    changes = {0: [0, -0.2, -0.3, -0.5, -0.6], 1: [0, -0.2, -0.1, 0.2, 0.4]}
    assert len(signatures.fairness_collapse(clients(changes, error=0.1))) == 1
    assert signatures.fairness_collapse(clients(changes, error=0.5)) == []


def test_what_clients_differ_by_beyond_chance() -> None:
    """DerSimonian and Laird by hand: weights 1, 1 and 1/4, mean 10/9, Q = 20/9."""
    tau, p = between([0.0, 2.0, 2.0], [1.0, 1.0, 2.0])
    assert tau == pytest.approx(math.sqrt((20 / 9 - 2) / (2.25 - (1 + 1 + 1 / 16) / 2.25)))
    assert p == pytest.approx(scipy.stats.chi2.sf(20 / 9, 2))
    assert between([0.0, 9.0], [1.0, 1.0])[0] == pytest.approx(math.sqrt(9**2 / 2 - 1))
    assert all(math.isnan(x) for x in (*between([1.0], [1.0]), *between([1.0, 2.0], [1.0, math.nan])))


@pytest.mark.parametrize(
    "changes",
    [
        {0: [0, -0.2, -0.3], 1: [0, -0.1, -0.2]},
        {0: [0, -0.2, 0.6, -0.3], 1: [0, -0.1, -0.4, -0.2]},  # for one round
        {0: [0, 0.0, 0.001], 1: [0, 0.0, -0.001]},  # nothing was learned, and nothing lost
        {0: [0], 1: [0]},
    ],
)
def test_what_is_no_collapse(changes: dict[int, list[float]]) -> None:
    assert signatures.fairness_collapse(clients(changes)) == []


@given(st.floats(0.05, 2), st.floats(-0.7, 0.7))
def test_hard_texts_alone_are_no_collapse(gain: float, differ: float) -> None:
    even = clients({0: [0, -gain, -gain], 1: [0, -gain * (1 + differ), -gain * (1 + differ)]})
    assert signatures.fairness_collapse(even) == []


def test_a_client_that_never_learns_is_named() -> None:
    found = signatures.never_learns(clients({0: [0, -0.2, -0.4], 1: [0, 0.1, 0.05], 2: [0, -0.3, -0.3]}))
    assert places(found) == [(2, 1)]
    assert found[0].size == pytest.approx(-0.05)
    assert "client 1's loss never fell by more than 0.000" in found[0].sentence
    unknown = {0: [0, -0.2, -0.4], 1: [0, 0.1, 0.05], 2: [0, -0.3, -0.3]}
    assert signatures.never_learns(clients(unknown, error=0.2)) == []  # it may have gained as much


@pytest.mark.parametrize(
    "changes",
    [
        {0: [0, -0.2, -0.4], 1: [0, -0.1, 0.0]},  # it did for a while
        {0: [0, -0.001, 0.0], 1: [0, 0.0, 0.0]},  # nobody does
        {0: [0], 1: [0]},
    ],
)
def test_who_does_not_fail_to_learn(changes: dict[int, list[float]]) -> None:
    assert signatures.never_learns(clients(changes)) == []


def test_early_over_fitting_is_marked_where_tests_have_risen() -> None:
    own = turns((2, 5, 3.0, 3.1, 3.5), (6, 5, 2.8, 3.0, 3.4), (9, 5, 2.6, 3.01, 3.3), (12, 5, 2.3, 3.2, 3.2))
    found = signatures.early_overfitting(own)
    assert places(found) == [(12, 5)]
    assert found[0].size == pytest.approx(0.2)
    assert "since round 6 client 5's training loss fell by 0.500" in found[0].sentence
    assert "its own test texts" in found[0].sentence
    on_all = turns((2, 5, 3.0, math.nan, 3.1), (6, 5, 2.8, math.nan, 3.3))
    assert "the global test texts" in signatures.early_overfitting(on_all)[0].sentence


@pytest.mark.parametrize(
    "rows",
    [
        [(2, 5, 3.0, 3.1, 3.5), (6, 5, 2.8, 3.0, 3.4)],  # learns
        [(2, 5, 3.0, 3.1, 3.5), (6, 5, 3.1, 3.3, 3.7)],  # both rise: that is not over-fitting
        [(2, 5, 3.0, 3.1, 3.5), (6, 5, 2.99, 3.3, 3.7)],  # the training loss hardly falls
        [(2, 5, 3.0, 3.1, 3.5), (6, 5, 2.8, 3.11, 3.5)],  # the tests hardly rise
        [(2, 5, 3.0, 3.1, 3.5), (6, 6, 2.8, 3.3, 3.7)],  # two clients
        [(12, 5, 3.0, 3.1, 3.5), (16, 5, 2.8, 3.3, 3.7)],  # late
        [(2, 5, math.nan, 3.1, 3.5), (6, 5, 2.8, 3.3, 3.7)],
        [],
    ],
)
def test_what_is_no_early_over_fitting(rows: list[tuple[int, int, float, float, float]]) -> None:
    assert signatures.early_overfitting(turns(*rows)) == []


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=2, max_size=10))
def test_no_over_fitting_where_tests_follow_training(losses: list[tuple[float, float]]) -> None:
    train = np.array([a for a, _ in losses])
    rows = [(t, 0, x, 2 * x, x + 1) for t, x in enumerate(train)]
    assert signatures.early_overfitting(turns(*rows)) == []


def test_turns_join_the_records_and_the_gaps() -> None:
    gaps = pd.DataFrame({"round": [1], "client": [3], "own_local": [3.0], "test_local": [3.2]})
    rounds = [
        {"round": 0, "clients": []},
        {"round": 1, "clients": [{"client": 3, "train_loss": 2.5}, {"client": 4, "train_loss": 2.6}]},
    ]
    row = signatures.turns(gaps, rounds).iloc[0]
    assert (row["client"], row["train_loss"], row["own_local"], row["last"]) == (3, 2.5, 3.0, 1)
    assert signatures.turns(gaps.iloc[:0], rounds[:1]).empty


def test_a_whole_run_is_read_at_once() -> None:
    calm = clients({0: [0, -0.2, -0.4], 1: [0, -0.2, -0.4]})
    loss = curve(4.0, 3.5, 3.7, 3.4, 3.8, 3.3).assign(loss_per_sample=0.0)
    gaps = pd.DataFrame({"round": [], "client": [], "own_local": [], "test_local": []})
    tables = losses.Tables(curve=loss, classes=calm, clients=calm, gaps=gaps, personal=calm)
    found = signatures.signatures(tables, [{"round": 0, "clients": []}])
    assert [(each.name, each.round) for each in found] == [("global oscillation", 2), ("global oscillation", 4)]
