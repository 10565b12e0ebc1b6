"""Tests, sizes, seeds needed and answers against numbers worked out by hand or by scipy.stats."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cllora import stats
from cllora.analysis import contrasts
from cllora.metrics import MARGIN
from cllora.seeds import rng

VALUES = np.array([0.03, 0.01, 0.025, 0.04, 0.02])


def test_p_values_are_those_of_the_paired_t_test() -> None:
    mean, spread, n = stats.summary(VALUES)
    assert stats.p_differs(mean, spread, n) == pytest.approx(scipy.stats.ttest_1samp(VALUES, 0).pvalue)
    for margin in (0.01, 0.03, 0.05):
        below = scipy.stats.ttest_1samp(VALUES, -margin, alternative="greater").pvalue
        above = scipy.stats.ttest_1samp(VALUES, margin, alternative="less").pvalue
        assert stats.p_equivalent(mean, spread, n, margin) == pytest.approx(max(below, above))


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8), st.floats(0.001, 2))
def test_equivalent_at_5_percent_is_the_90_percent_interval_within_the_margin(values, margin) -> None:
    mean, spread, n = stats.summary(np.round(values, 3))
    low, high = stats.t_interval(mean, spread, n, 0.9)
    inside = bool(-margin < low and high < margin)
    near = min(abs(high - margin), abs(low + margin)) < 1e-9
    assert near or (stats.p_equivalent(mean, spread, n, margin) < 0.05) == inside


def test_what_never_varies_leaves_no_doubt() -> None:
    assert stats.p_differs(0.2, 0.0, 3) == 0
    assert stats.p_differs(0.0, 0.0, 3) == 1
    assert stats.p_equivalent(0.001, 0.0, 3, 0.01) == 0
    assert stats.p_equivalent(0.2, 0.0, 3, 0.01) == 1


def test_one_seed_says_nothing() -> None:
    for found in (stats.p_differs(0.2, math.nan, 1), stats.p_equivalent(0.2, math.nan, 1, 0.01)):
        assert math.isnan(found)


def test_hedges_g() -> None:
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # 4 degrees
    assert stats.hedges_g(2.0, 4.0, 5) == pytest.approx(correction / 2)
    assert correction == pytest.approx(1 - 3 / (4 * 4 - 1), abs=0.003)  # the usual approximation
    assert np.isnan(stats.hedges_g([1.0, 1.0], [1.0, 0.0], [2, 5])).all()


def test_holm() -> None:
    assert stats.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([[0.5, 0.9], [0.02, 0.01]]).tolist() == [[1.0, 1.0], [0.02, 0.02]]
    assert stats.holm([0.04]).tolist() == [0.04]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    adjusted = stats.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p))).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_the_bootstrap_needs_seeds_and_repeats_itself() -> None:
    values = rng(0, "bootstrap test").normal(0.02, 0.01, 12)
    assert all(map(math.isnan, stats.bootstrap_interval(values[:7], rng(0))))
    low, high = stats.bootstrap_interval(values, rng(0))
    assert (low, high) == stats.bootstrap_interval(values, rng(0))
    mean, t_low, t_high = stats.paired_interval(values)
    assert low < mean < high
    assert (high - low) == pytest.approx(t_high - t_low, rel=0.25)
    assert stats.bootstrap_interval([0.5] * 9, rng(0)) == (0.5, 0.5)


def test_the_bootstrap_leans_where_the_differences_do() -> None:
    values = rng(0, "skewed").exponential(1.0, 20)
    low, high = stats.bootstrap_interval(values, rng(0))
    assert high - values.mean() > 1.1 * (values.mean() - low)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("effect", [0.0, 0.3, 1.0])
def test_power_is_that_of_the_noncentral_t(effect: float, seeds: int) -> None:
    away, t = math.sqrt(seeds) * effect, scipy.stats.t.ppf(0.975, seeds - 1)
    known = scipy.stats.nct.sf(t, seeds - 1, away) + scipy.stats.nct.cdf(-t, seeds - 1, away)
    assert stats.chance_of_differs(effect, 1.0, seeds) == pytest.approx(known, abs=1e-5)


def test_the_power_to_show_equivalence() -> None:
    assert stats.chance_of_equivalent(1.0, 1.0, 30, 1.0) == pytest.approx(0.05, abs=1e-5)  # on the margin
    assert stats.chance_of_equivalent(1.0, 9.0, 3, 1.0) < 0.05
    away, t = math.sqrt(40), scipy.stats.t.ppf(0.95, 39)
    known = 1 - 2 * scipy.stats.nct.cdf(t, 39, away)  # both tests never fail at once here
    assert stats.chance_of_equivalent(0.0, 1.0, 40, 1.0) == pytest.approx(known, abs=1e-5)


@given(st.floats(-4, 3), st.sampled_from([0.05, 0.01, 0.001]), st.integers(2, 5_000))
def test_power_is_a_chance_and_once_it_is_worth_the_name_grows_with_seeds(
    size: float, alpha: float, seeds: int
) -> None:
    for chance in (
        lambda n: stats.chance_of_differs(10**size, 1.0, n, alpha),
        lambda n: stats.chance_of_equivalent(0.0, 1.0, n, 10**size, alpha),
    ):
        fewer, more = chance(seeds), chance(2 * seeds)
        assert -1e-9 <= fewer <= 1 + 1e-9
        assert fewer < 0.5 or more >= fewer - 1e-6  # two seeds of which the spread is small by chance can beat three


def test_seeds_needed_by_the_textbook() -> None:
    assert stats.seeds_needed(0.5, 1.0, math.nan) == 34  # G*Power: paired t, d = 0.5, 5 %, 80 %
    assert stats.seeds_needed(0.8, 1.0, math.nan) == 15
    assert stats.seeds_needed(0.0, 1.0, math.nan) == math.inf
    assert stats.seeds_needed(0.1, 0.0, 0.01) == 2


def test_seeds_to_tell_go_by_the_margin_and_not_by_the_difference_seen() -> None:
    for seen in (0.0, 0.005, 0.3):
        assert stats.seeds_to_tell(seen, 0.01, 3, 0.01) == 11
    between = stats.seeds_to_tell(0.005, 0.01, 20, 0.01)  # 20 would do for nothing and for the margin
    assert between == stats.seeds_needed(0.005, 0.01, 0.01) > 20


def study(**cells: tuple[float, ...]) -> pd.DataFrame:
    rows = [(alpha, seed, loss) for alpha, of in cells.items() for seed, loss in enumerate(of)]
    return pd.DataFrame(rows, columns=["alpha", "seed", "final_loss"]).assign(progress="finished", fingerprint="a")


def judged(margin: float | None = None, **cells: tuple[float, ...]) -> pd.DataFrame:
    runs = study(iid=(3.0, 3.1, 3.2), **cells)
    return contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss", margin=margin).set_index("alpha")


def test_every_comparison_gets_a_plain_answer() -> None:
    found = judged(
        far=(3.2, 3.301, 3.399),
        near=(3.0001, 3.1, 3.1999),
        small=(3.005, 3.1051, 3.2049),
        unclear=(3.0, 3.14, 3.17),
        single=(3.5,),
        none=(),
    )
    assert found["answer"].to_dict() == {
        "far": "differs",
        "near": "equivalent within 0.01",
        "small": "differs, by less than 0.01",
        "unclear": f"not enough seeds to tell (about {found.loc['unclear', 'needed']:,.0f} needed)",
        "single": "one seed cannot tell",
    }
    assert found["comparisons"].tolist() == [5] * 5
    assert 100 < found.loc["unclear", "needed"] < 400


def test_what_is_the_same_in_every_pair_is_called_that() -> None:
    assert judged(copy=(3.0, 3.1, 3.2))["answer"].tolist() == ["the same in every pair"]


def test_the_margin_is_the_reader_s_and_is_1_percent_of_perplexity_by_default() -> None:
    cells = {"near": (3.02, 3.121, 3.219)}
    assert judged(**cells)["answer"].tolist() == ["differs"]
    assert judged(margin=0.05, **cells)["answer"].tolist() == ["differs, by less than 0.05"]
    assert MARGIN == 0.01


def test_without_a_margin_nothing_is_equivalent() -> None:
    runs = study(iid=(3.0, 3.1, 3.2), a=(3.0001, 3.1, 3.1999)).rename(columns={"final_loss": "seconds"})
    found = contrasts(runs, ["alpha"], {"alpha": "iid"}, "seconds")
    assert math.isnan(found["margin"].iloc[0])
    assert not found["equivalent"].iloc[0]
    assert found["answer"].iloc[0].startswith("not enough seeds to tell")


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 6))
def test_an_interval_leaves_out_zero_just_where_holm_finds_a_difference(draw: int, cells: int, seeds: int) -> None:
    noise = rng(draw, "holm and intervals").normal(0, 0.02, (cells, seeds))
    runs = study(
        iid=(0.0,) * seeds, **{f"c{i}": tuple(noise[i] + 0.02 * rng(draw, i).integers(0, 3)) for i in range(cells)}
    )
    found = contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss")
    assert ((found["low_holm"] > 0) | (found["high_holm"] < 0)).tolist() == found["differs"].tolist()
    assert (found["p_holm"] >= found["p"]).all()
