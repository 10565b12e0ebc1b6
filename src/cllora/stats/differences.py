"""Estimate, interval and tests of the paired differences of one comparison.

From `BY_RANKS` differences on they are of the typical difference, by signed ranks, which hold their level whatever the
distribution; with fewer, ranks cannot reach a usual level, and they are of the mean, by Student's t, which holds it for
normal differences alone. docs/method.md has what was simulated.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv

from cllora.stats.paired import Numbers, p_differs, p_equivalent, paired_interval, summary
from cllora.stats.power import seeds_to_tell
from cllora.stats.ranks import hodges_lehmann, p_typical_differs, p_typical_equivalent, signed_rank_interval

BY_RANKS = 8
"""The fewest differences that are judged by their ranks."""


def estimate(differences: ArrayLike) -> float:
    """The typical difference; of fewer than `BY_RANKS` the mean; NaN of none."""
    values = np.asarray(differences, float)
    return float(hodges_lehmann(values)) if len(values) >= BY_RANKS else float(summary(values)[0])


def interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The interval of `estimate`; NaN where there are too few differences for the level."""
    if len(np.atleast_1d(differences)) >= BY_RANKS:
        low, high = signed_rank_interval(differences, level)
        return float(low), float(high)
    return paired_interval(differences, level)[1:]


def p_of_difference(differences: ArrayLike) -> Numbers:
    """The two-sided p value of there being no difference, of one comparison or several: (..., n) to (...). NaN of fewer
    than two differences."""
    if np.shape(differences)[-1] >= BY_RANKS:
        return p_typical_differs(differences)
    return p_differs(*summary(differences))


def p_of_equivalence(differences: ArrayLike, margin: float) -> Numbers:
    """The p value of a difference of at least the margin, either way: (..., n) to (...). NaN of fewer than two
    differences, or without a margin."""
    if np.shape(differences)[-1] >= BY_RANKS:
        return p_typical_equivalent(differences, margin)
    return p_equivalent(*summary(differences), margin)


def needed(differences: ArrayLike, margin: float, alpha: float = 0.05) -> tuple[float, float]:
    """The number of differences in all that it would take to tell: at the spread that was observed, and at its upper
    80 % limit, as a few differences know their spread badly. NaN of fewer than two.

    `seeds_to_tell`; by ranks pi / 3 as many (their efficiency against t under a normal distribution), and no fewer than
    those of which ranks can have a p value of alpha: 2^(1 - n) <= alpha.
    """
    mean, spread, n = summary(differences)
    if n < 2:
        return math.nan, math.nan
    upper = float(spread) / math.sqrt(2 * float(gammaincinv((n - 1) / 2, 0.2)) / (n - 1))
    many = [seeds_to_tell(float(mean), s, n, margin, alpha) for s in (float(spread), upper)]
    fewest = math.ceil(1 - math.log2(alpha))
    about, most = (max(fewest, math.ceil(x * math.pi / 3)) if BY_RANKS <= x < math.inf else x for x in many)
    return about, max(about, most)


def values_of(differences: ArrayLike) -> Numbers:
    """The differences that are there: finite ones (n,)."""
    values = np.asarray(differences, float)
    return np.asarray(values[np.isfinite(values)])
