"""One effect and its doubt, from differences between paired runs: what they come to, and what they can show.

All functions but the bootstrap take arrays and work elementwise. mean, spread (the standard deviation with n - 1) and
seeds describe the differences of one comparison; fewer than two say nothing of the spread, and all doubt is NaN.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, stdtr, stdtrit

from cllora.seeds import rng

Numbers = NDArray[np.float64]

BOOTSTRAP_SEEDS = 8
"""Fewer differences than this are not resampled: see `bootstrap_interval`."""
DRAWS = 9_999
"""Resamples of a bootstrap interval."""


def t_interval(
    mean: ArrayLike, spread: ArrayLike, seeds: ArrayLike, level: ArrayLike = 0.95
) -> tuple[Numbers, Numbers]:
    """Student's t interval of a mean difference: mean +- t_(n-1) spread / sqrt(n)."""
    n = _counts(seeds)
    half = stdtrit(n - 1, (1 + np.asarray(level, float)) / 2) * _error(spread, n)
    return np.asarray(mean, float) - half, np.asarray(mean, float) + half


def paired_interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of the differences (n,) and its `t_interval`; low and high are NaN with fewer than two."""
    mean, spread, seeds = summary(differences)
    low, high = t_interval(mean, spread, seeds, level)
    return mean, float(low), float(high)


def summary(differences: ArrayLike) -> tuple[float, float, int]:
    """Mean, standard deviation (divided by n - 1; NaN with fewer than two) and number n of differences (n,)."""
    values = np.asarray(differences, float)
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan, len(values)


def bootstrap_interval(differences: ArrayLike, level: float = 0.95, draws: int = DRAWS) -> tuple[float, float]:
    """Bootstrap interval of the mean of differences (n,), which supposes no normal distribution: BCa (Efron 1987).

    Resampling n values knows nothing of the factor sqrt(n / (n - 1)) nor of t's longer tails. The level is therefore
    raised to 1 - 2 Phi(-sqrt(n / (n - 1)) t_(n-1)), which mends both (Hesterberg 2015, doi
    10.1080/00031305.2015.1089789). What it cannot mend is that few values have few resamples: with fewer than
    `BOOTSTRAP_SEEDS` both ends are NaN. Draws are named by n alone, so equal differences have equal intervals.
    """
    values = np.asarray(differences, float)
    n = len(values)
    if n < BOOTSTRAP_SEEDS:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    widened = 1 - 2 * float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)))
    from scipy import stats  # takes a second to load, and few studies have so many seeds

    found = stats.bootstrap(
        (values,), np.mean, confidence_level=widened, n_resamples=draws, method="BCa", rng=rng(0, "bootstrap", n)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def hedges_g(mean: ArrayLike, spread: ArrayLike, seeds: ArrayLike) -> Numbers:
    """The standardised size of a paired difference, J mean / spread, free of the bias that few seeds bring.

    J = Gamma(v / 2) / (sqrt(v / 2) Gamma((v - 1) / 2)) with v = n - 1 (Hedges 1981). The unit is the standard deviation
    of the *differences* (called d_z), so it says how far the effect stands out of its own noise, not how large it is.
    NaN with fewer than three seeds, where J is not defined, and where nothing varies.
    """
    v = np.where(_counts(seeds) > 2, _counts(seeds) - 1, np.nan)
    spread = np.asarray(spread, float)
    correction = np.exp(gammaln(v / 2) - gammaln((v - 1) / 2)) / np.sqrt(v / 2)
    size: Numbers = correction * np.asarray(mean, float) / np.where(spread > 0, spread, np.nan)
    return size


def p_differs(mean: ArrayLike, spread: ArrayLike, seeds: ArrayLike) -> Numbers:
    """Two-sided p value of the paired t test of no difference."""
    n = _counts(seeds)
    p: Numbers = 2 * stdtr(n - 1, -np.abs(_standing(mean, spread, n)))
    return p


def p_equivalent(mean: ArrayLike, spread: ArrayLike, seeds: ArrayLike, margin: ArrayLike) -> Numbers:
    """p value of two one-sided t tests (Schuirmann 1987): of a true difference of at least the margin, either way.

    It is the larger of both, P(t_(n-1) < (|mean| - margin) / (spread / sqrt(n))). Small says that the difference lies
    within the margin; at 0.05 just when the 90 % t interval does. NaN without a margin.
    """
    n = _counts(seeds)
    p: Numbers = stdtr(n - 1, _standing(np.abs(mean) - np.asarray(margin, float), spread, n))
    return p


def holm(p: ArrayLike) -> Numbers:
    """p values adjusted for being several, along the last axis (Holm 1979).

    With p_(1) <= ... <= p_(N): max over j <= i of (N - j + 1) p_(j), at most 1. Whatever of the N is true, the chance
    that any true hypothesis has an adjusted p of 0.05 or less is at most 0.05.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.take_along_axis(p, order, -1) * (p.shape[-1] - np.arange(p.shape[-1]))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0), -1)
    return adjusted


def _counts(seeds: ArrayLike) -> Numbers:
    """As floats; NaN where there are too few to know a spread."""
    n = np.asarray(seeds, float)
    return np.where(n > 1, n, np.nan)


def _error(spread: ArrayLike, n: Numbers) -> Numbers:
    return np.asarray(np.asarray(spread, float) / np.sqrt(n))


def _standing(distance: Any, spread: ArrayLike, n: Numbers) -> Numbers:
    """A distance in standard errors; where nothing varies plus or minus infinity, and 0 for no distance at all."""
    distance, error = np.broadcast_arrays(np.asarray(distance, float), _error(spread, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Numbers = np.where((distance == 0) & (error == 0), 0.0, distance / error)
    return found
