"""Statistics of paired differences: intervals, tests of difference and of equivalence, effect sizes.

All functions take arrays and work elementwise. mean, spread (the standard deviation, divided by
n - 1) and n, the number of pairs, describe the differences of one comparison. With fewer than two pairs there is no
spread, and every measure of doubt is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, stdtr, stdtrit

Numbers = NDArray[np.float64]


def t_interval(mean: ArrayLike, spread: ArrayLike, n: ArrayLike, level: ArrayLike = 0.95) -> tuple[Numbers, Numbers]:
    """Student's t interval of a mean difference: mean +- t_(n-1) spread / sqrt(n)."""
    n = _counts(n)
    half = stdtrit(n - 1, (1 + np.asarray(level, float)) / 2) * _error(spread, n)
    return np.asarray(mean, float) - half, np.asarray(mean, float) + half


def paired_interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of the differences (n,) and its `t_interval`; low and high are NaN with fewer than two."""
    mean, spread, n = summary(differences)
    low, high = t_interval(mean, spread, n, level)
    return float(mean), float(low), float(high)


def summary(differences: ArrayLike) -> tuple[Numbers, Numbers, int]:
    """Mean, standard deviation (divided by n - 1; NaN with fewer than two) and number n of differences (..., n)."""
    values = np.asarray(differences, float)
    n, unknown = values.shape[-1], np.full(values.shape[:-1], np.nan)
    mean, spread = (values.mean(axis=-1) if n else unknown), (values.std(axis=-1, ddof=1) if n > 1 else unknown)
    return np.asarray(mean), np.asarray(spread), n


def hedges_g(mean: ArrayLike, spread: ArrayLike, n: ArrayLike) -> Numbers:
    """The standardised size of a paired difference, J mean / spread, without the bias of few pairs.

    J = Gamma(v / 2) / (sqrt(v / 2) Gamma((v - 1) / 2)) with v = n - 1 (Hedges 1981). The unit is the standard deviation
    of the *differences* (called d_z), so it says how far the effect stands out of its own noise, not how large it is.
    NaN with fewer than three pairs, where J is not defined, and where nothing varies.
    """
    v = np.where(_counts(n) > 2, _counts(n) - 1, np.nan)
    spread = np.asarray(spread, float)
    correction = np.exp(gammaln(v / 2) - gammaln((v - 1) / 2)) / np.sqrt(v / 2)
    size: Numbers = correction * np.asarray(mean, float) / np.where(spread > 0, spread, np.nan)
    return size


def p_differs(mean: ArrayLike, spread: ArrayLike, n: ArrayLike) -> Numbers:
    """Two-sided p value of the paired t test of no difference."""
    n = _counts(n)
    p: Numbers = 2 * stdtr(n - 1, -np.abs(_standing(mean, spread, n)))
    return p


def p_equivalent(mean: ArrayLike, spread: ArrayLike, n: ArrayLike, margin: ArrayLike) -> Numbers:
    """p value of two one-sided t tests (Schuirmann 1987): of a true difference of at least the margin, either way.

    It is the larger of both, P(t_(n-1) < (|mean| - margin) / (spread / sqrt(n))). Small says that the difference lies
    within the margin; at 0.05 just when the 90 % t interval does. NaN without a margin.
    """
    n = _counts(n)
    p: Numbers = stdtr(n - 1, _standing(np.abs(mean) - np.asarray(margin, float), spread, n))
    return p


def _counts(pairs: ArrayLike) -> Numbers:
    """Numbers of pairs as floats; NaN where there are too few to know a spread."""
    n = np.asarray(pairs, float)
    return np.where(n > 1, n, np.nan)


def _error(spread: ArrayLike, n: Numbers) -> Numbers:
    return np.asarray(np.asarray(spread, float) / np.sqrt(n))


def _standing(distance: ArrayLike, spread: ArrayLike, n: Numbers) -> Numbers:
    """A distance in standard errors; where nothing varies plus or minus infinity, and 0 for no distance at all."""
    distance, error = np.broadcast_arrays(np.asarray(distance, float), _error(spread, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        standing: Numbers = np.where((distance == 0) & (error == 0), 0.0, distance / error)
    return standing
