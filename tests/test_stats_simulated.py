"""The doubt is right: in thousands of made-up studies with known effects, answers are wrong as rarely as they say.

Four standard errors of the simulation are allowed for; draws are fixed.
"""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cllora import stats
from cllora.analysis import contrasts
from cllora.seeds import rng

STUDIES = 4_000


def allowed(share: float, studies: int = STUDIES) -> float:
    return 4 * math.sqrt(share * (1 - share) / studies)


def summaries(effect: float, spread: float, seeds: int, studies: int = STUDIES) -> tuple[NDArray, NDArray]:
    """Mean and spread of the differences of every study, (studies,) each."""
    draws = rng(0, "studies", str(effect), str(spread), seeds).normal(effect, spread, (studies, seeds))
    return draws.mean(axis=1), draws.std(axis=1, ddof=1)


def runs_of(studies: int, effect: float, seeds: int) -> pd.DataFrame:
    """Runs as a report has them: what a seed brings to both of a pair is larger than the effect."""
    draw = rng(0, "runs", seeds)
    shared = draw.normal(3, 0.1, (studies, seeds, 1))
    loss = shared + np.array([0, effect]) + draw.normal(0, 0.01, (studies, seeds, 2))
    index = pd.MultiIndex.from_product([range(studies), range(seeds), ["iid", "0.1"]], names=["study", "seed", "alpha"])
    frame = pd.DataFrame({"final_loss": loss.ravel()}, index=index).reset_index()
    return frame.assign(progress="finished", fingerprint="same")


@pytest.mark.parametrize("seeds", [3, 5])
def test_contrasts_of_runs_cover_the_known_effect(seeds: int) -> None:
    studies = 600
    found = contrasts(runs_of(studies, 0.02, seeds), ["study", "alpha"], {"alpha": "iid"}, "final_loss")
    assert len(found) == studies
    covered = ((found["low"] <= 0.02) & (found["high"] >= 0.02)).mean()
    assert covered == pytest.approx(0.95, abs=allowed(0.95, studies))
    assert found["difference"].mean() == pytest.approx(0.02, abs=4 * 0.0142 / math.sqrt(studies * seeds))


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_t_intervals_cover_at_their_level(seeds: int, level: float) -> None:
    low, high = stats.t_interval(*summaries(0.03, 0.02, seeds), seeds, level)
    assert ((low <= 0.03) & (high >= 0.03)).mean() == pytest.approx(level, abs=allowed(level))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_hedges_g_is_right_on_average(seeds: int) -> None:
    sizes = stats.hedges_g(*summaries(0.5, 1.0, seeds, 40_000), seeds)
    assert sizes.mean() == pytest.approx(0.5, abs=4 * sizes.std() / math.sqrt(40_000))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_no_difference_is_found_where_there_is_none_in_5_percent(seeds: int) -> None:
    found = stats.p_differs(*summaries(0.0, 0.02, seeds), seeds) <= 0.05
    assert found.mean() == pytest.approx(0.05, abs=allowed(0.05))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.001, 0.005, 0.02])
@pytest.mark.parametrize("effect", [0.01, -0.01, 0.015])
def test_equivalence_is_claimed_wrongly_in_at_most_5_percent(effect: float, spread: float, seeds: int) -> None:
    claimed = stats.p_equivalent(*summaries(effect, spread, seeds), seeds, 0.01) <= 0.05
    assert claimed.mean() <= 0.05 + allowed(0.05)


def families(effects: list[float], seeds: int = 5, shared: float = 0.0) -> tuple[NDArray, NDArray]:
    """Mean and spread of every comparison of every study, (studies, comparisons); `shared` is the control's noise."""
    draw = rng(0, "families", str(effects), seeds, str(shared))
    own = draw.normal(0, 0.01, (STUDIES, len(effects), seeds))
    draws = own + np.array(effects)[:, None] - shared * draw.normal(0, 0.01, (STUDIES, 1, seeds))
    return draws.mean(axis=2), draws.std(axis=2, ddof=1)


@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("effects", [[0.0] * 5, [0.0, 0.0, 0.0, 0.05, 0.05], [0.0, 0.2, 0.2, 0.2]])
def test_any_wrong_difference_among_several_is_claimed_in_at_most_5_percent(effects, shared: float) -> None:
    p = stats.holm(stats.p_differs(*families(effects, shared=shared), 5))
    wrong = (p[:, np.array(effects) == 0] <= 0.05).any(axis=1)
    assert wrong.mean() <= 0.05 + allowed(0.05)


def test_any_wrong_equivalence_among_several_is_claimed_in_at_most_5_percent() -> None:
    mean, spread = families([0.01, -0.01, 0.01, 0.0], shared=1.0, seeds=10)
    p = stats.holm(stats.p_equivalent(mean, spread, 10, 0.01))
    assert (p[:, :3] <= 0.05).any(axis=1).mean() <= 0.05 + allowed(0.05)


@pytest.mark.parametrize("seeds", [5, 12])
@pytest.mark.parametrize("effects", [[0.0] * 4, [0.05] * 4, [0.05, 0.05, 0.01, 0.0]])
def test_the_interval_of_the_largest_difference_covers_although_it_was_chosen(effects: list[float], seeds: int) -> None:
    studies, covered = 100, []
    draw = rng(0, "chosen", str(effects), seeds)
    for _ in range(studies):
        own, shared = draw.normal(0, 0.01, (len(effects), seeds)), draw.normal(0, 0.01, seeds)
        differences = list(own + np.array(effects)[:, None] - shared)
        family = stats.adjust_for_multiplicity(differences, 0.01)
        largest = int(np.argmax([abs(stats.estimate(values)) for values in differences]))
        covered.append(family.low[largest] <= effects[largest] <= family.high[largest])
    assert np.mean(covered) >= 0.95 - allowed(0.95, studies)


@pytest.mark.parametrize("spread", [0.004, 0.01, 0.03])
def test_the_seeds_needed_tell_in_80_percent_of_studies(spread: float) -> None:
    margin = 0.01
    differs, within = (int(stats.seeds_needed(effect, spread, margin)) for effect in (margin, 0.0))
    found = (stats.p_differs(*summaries(margin, spread, differs), differs) <= 0.05).mean()
    shown = (stats.p_equivalent(*summaries(0.0, spread, within), within, margin) <= 0.05).mean()
    assert min(found, shown) >= 0.8 - allowed(0.8)
    fewer = (stats.p_differs(*summaries(margin, spread, differs - 1), differs - 1) <= 0.05).mean()
    hidden = (stats.p_equivalent(*summaries(0.0, spread, within - 1), within - 1, margin) <= 0.05).mean()
    assert max(fewer, hidden) <= 0.8 + allowed(0.8)  # one seed less is too few
