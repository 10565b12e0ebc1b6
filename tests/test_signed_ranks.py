"""Signed ranks against scipy.stats and by hand."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cllora import stats
from cllora.seeds import rng

distinct = st.lists(st.integers(1, 10_000), min_size=8, max_size=20, unique_by=abs).flatmap(
    lambda sizes: st.lists(st.sampled_from([-1, 1]), min_size=len(sizes), max_size=len(sizes)).map(
        lambda signs: np.array(sizes) * np.array(signs) / 1000
    )
)
"""Differences without ties or zeros, of which the test of scipy is exact."""


@given(distinct, st.sampled_from([0.0, 0.5, -1.2345]))
def test_p_values_are_those_of_wilcoxon_s_exact_test(values: NDArray[np.float64], shift: float) -> None:
    moved = values - shift
    if len(np.unique(np.abs(moved))) < len(moved) or (moved == 0).any():
        return
    assert stats.p_of_difference(moved) == pytest.approx(scipy.stats.wilcoxon(moved, method="exact").pvalue)


@given(distinct, st.sampled_from([0.1234567, 1.7654321, 6.1]))
def test_equivalence_is_two_one_sided_tests_of_wilcoxon(values: NDArray[np.float64], margin: float) -> None:
    below = scipy.stats.wilcoxon(values - margin, method="exact", alternative="less").pvalue
    above = scipy.stats.wilcoxon(values + margin, method="exact", alternative="greater").pvalue
    assert stats.p_of_equivalence(values, margin) == pytest.approx(max(below, above))


def test_the_typical_difference_is_the_median_of_the_means_of_pairs() -> None:
    assert stats.hodges_lehmann([1.0, 2.0, 6.0]) == 2.75  # of 1, 1.5, 2, 3.5, 4, 6
    assert stats.hodges_lehmann([0.0, 4.0]) == 2.0
    assert stats.estimate([1.0, 2.0, 6.0]) == 3.0  # of fewer than 8 the mean
    one_far_off = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 90.0]
    assert stats.estimate(one_far_off) == pytest.approx(0.45)


def test_the_interval_by_hand() -> None:
    """Of 8 differences P(W <= 3) = 5 / 256 <= 2.5 % < P(W <= 4) = 7 / 256: the 4th smallest and 4th largest mean of
    pairs."""
    values = 2.0 ** np.arange(8)
    means = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    assert stats.signed_rank_interval(values) == (means[3], means[-4])
    assert stats.interval(values) == (means[3], means[-4])


def test_what_too_few_differences_cannot_tell_has_no_interval() -> None:
    """Eight have none at 99.5 %: with all signs alike the p value is 2 / 256. It is absent, and not infinite."""
    values = np.arange(1.0, 9.0)
    assert all(math.isnan(end) for end in stats.interval(values, 0.995))
    assert not any(math.isnan(end) for end in stats.interval(values, 0.992))
    assert stats.p_of_difference(values) == 2 / 256
    family = stats.adjust_for_multiplicity([values] * 10, 0.01)
    assert np.isnan(family.low).all()
    assert not family.differs.any()


def test_differences_of_nothing_are_none_either_way() -> None:
    assert stats.p_of_difference(np.zeros(9)) == 1.0
    assert stats.p_of_equivalence(np.zeros(9), 0.1) == 2.0**-9
    assert stats.interval(np.zeros(9)) == (0.0, 0.0)
    assert math.isnan(stats.p_of_equivalence(np.zeros(9), math.nan))


@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([0.8, 0.95, 0.99]), st.sampled_from([0.0, 0.5, 1.0]))
def test_an_interval_leaves_out_zero_just_where_the_test_finds_a_difference(
    draw: int, n: int, level: float, effect: float
) -> None:
    values = rng(draw, "duality").normal(effect, 1, n)
    low, high = stats.interval(values, level)
    assert (low > 0 or high < 0) == (stats.p_of_difference(values) <= 1 - level)


@given(st.integers(0, 10_000), st.integers(2, 30), st.floats(0.01, 2))
def test_equivalent_at_5_percent_is_the_90_percent_interval_within_the_margin(draw: int, n: int, margin: float) -> None:
    values = rng(draw, "equivalence").normal(0, 1, n)
    low, high = stats.interval(values, 0.9)
    assert (-margin < low and high < margin) == (stats.p_of_equivalence(values, margin) <= 0.05)


@given(distinct, st.floats(0.01, 100), st.floats(-5, 5))
def test_the_estimate_and_its_interval_move_with_the_unit_and_the_level(
    values: NDArray[np.float64], unit: float, level: float
) -> None:
    moved = unit * values + level
    assert stats.estimate(moved) == pytest.approx(unit * stats.estimate(values) + level, abs=1e-6)
    ends = np.array(stats.interval(values))
    assert stats.interval(moved) == pytest.approx(tuple(unit * ends + level), abs=1e-6)
    assert stats.estimate(-values) == pytest.approx(-stats.estimate(values))
