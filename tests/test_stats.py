"""Tests, sizes, seeds needed and answers against numbers worked out by hand or by scipy.stats."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cllora import stats
from cllora.analysis import contrasts, margin_of, seeds_text
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


def test_the_seeds_needed_are_a_range_as_the_spread_of_few_is_not_known() -> None:
    """At the spread that was observed the plan falls short in half of all studies; the upper end is at the limit that
    the true spread lies below in 80 %."""
    values = [0.03, -0.02, 0.04, -0.01, 0.01]
    about, most = stats.needed(values, 0.02)
    _, spread, n = stats.summary(values)
    upper = spread * math.sqrt((n - 1) / scipy.stats.chi2.ppf(0.2, n - 1))
    by_t = [stats.seeds_to_tell(0.01, s, n, 0.02) for s in (spread, upper)]
    assert (about, most) == tuple(math.ceil(seeds * math.pi / 3) for seeds in by_t)
    assert all(math.isnan(x) for x in stats.needed([0.1], 0.02))
    few, _ = stats.needed([0.01, 0.012, 0.009], 0.02)
    assert few == stats.seeds_to_tell(0.031 / 3, stats.summary([0.01, 0.012, 0.009])[1], 3, 0.02) < stats.BY_RANKS


def test_of_many_comparisons_no_fewer_seeds_are_called_enough_than_ranks_can_tell_with() -> None:
    """Eight differences have no p value below 2 / 256."""
    about, _ = stats.needed([0.1, 0.13, 0.11, 0.2, 0.15], 0.06, alpha=0.0001)
    assert about >= 1 - math.log2(0.0001)


def study(**cells: tuple[float, ...]) -> pd.DataFrame:
    rows = [(alpha, seed, loss) for alpha, of in cells.items() for seed, loss in enumerate(of)]
    runs = pd.DataFrame(rows, columns=["alpha", "seed", "final_loss"])
    return runs.assign(progress="finished", fingerprint="a", change=-0.1)


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
    ends = found.loc["unclear", ["needed", "needed_most"]]
    assert found["answer"].to_dict() == {
        "far": "differs",
        "near": "equivalent within 0.01",
        "small": "differs, by less than 0.01",
        "unclear": "not enough seeds to tell ({:,.0f} to {:,.0f} needed)".format(*ends),
        "single": "one seed cannot tell",
    }
    assert found["comparisons"].tolist() == [5] * 5
    assert 100 < ends["needed"] < 400 < ends["needed_most"]


def test_the_seeds_needed_in_words() -> None:
    assert seeds_text(12, 24) == "12 to 24"
    assert seeds_text(12, 12) == "about 12"
    assert seeds_text(12, math.inf) == "12 to more than 10,000"
    assert seeds_text(math.inf, math.inf) == "more than 10,000"


def test_what_is_the_same_in_every_pair_is_called_that() -> None:
    assert judged(copy=(3.0, 3.1, 3.2))["answer"].tolist() == ["the same in every pair"]


def test_the_margin_of_losses_is_a_share_of_what_training_gained_in_the_control() -> None:
    """One margin for every study promises too little where training gains little: a third of all that was learnt would
    pass for nothing."""
    assert margin_of([0.3, 0.5, math.nan], 0.1) == pytest.approx(0.04)
    assert all(math.isnan(margin_of(gains, 0.1)) for gains in ([], [math.nan], [-0.1, 0.05]))
    runs = study(iid=(3.0, 3.1, 3.2), near=(3.02, 3.121, 3.219), few=(3.02, 3.121))
    gained = runs.assign(change=[-0.3, -0.5, -0.7, *[-9.0] * 5])
    found = contrasts(gained, ["alpha"], {"alpha": "iid"}, "final_loss", share=0.2)
    assert found["margin"].tolist() == pytest.approx([0.1, 0.08])  # of the control's of its own pairs
    assert found["answer"].tolist()[0] == "differs, by less than 0.1"
    assert math.isnan(contrasts(runs.drop(columns="change"), ["alpha"], {"alpha": "iid"}, "final_loss")["margin"][0])


def test_the_margin_is_the_reader_s() -> None:
    cells = {"near": (3.02, 3.121, 3.219)}
    assert judged(**cells)["answer"].tolist() == ["differs"]
    assert judged(margin=0.05, **cells)["answer"].tolist() == ["differs, by less than 0.05"]


def test_without_a_margin_nothing_is_equivalent() -> None:
    runs = study(iid=(3.0, 3.1, 3.2), a=(3.0001, 3.1, 3.1999)).rename(columns={"final_loss": "seconds"})
    found = contrasts(runs, ["alpha"], {"alpha": "iid"}, "seconds")
    assert math.isnan(found["margin"].iloc[0])
    assert not found["equivalent"].iloc[0]
    assert found["answer"].iloc[0].startswith("not enough seeds to tell")


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 12))
def test_an_interval_leaves_out_zero_just_where_holm_finds_a_difference(draw: int, cells: int, seeds: int) -> None:
    noise = rng(draw, "holm and intervals").normal(0, 0.02, (cells, seeds))
    runs = study(
        iid=(0.0,) * seeds, **{f"c{i}": tuple(noise[i] + 0.02 * rng(draw, i).integers(0, 3)) for i in range(cells)}
    )
    found = contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss")
    assert ((found["low_holm"] > 0) | (found["high_holm"] < 0)).tolist() == found["differs"].tolist()
    assert (found["p_holm"] >= found["p"]).all()
