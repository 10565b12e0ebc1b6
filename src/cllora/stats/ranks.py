"""Wilcoxon's signed-rank statistics of paired differences: estimate, interval and tests without a normal distribution.

They are of the *typical* difference, Hodges and Lehmann's estimate: the median of the means of all pairs of differences
(each with itself included), which is the median and the mean where differences are symmetric. One seed in five that
comes out far off moves it little, whereas a mean and its t interval are not held to their level by so few values.

All functions take the differences of a comparison, (n,), or of several with as many each, (..., n).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from cllora.stats.paired import Numbers


def walsh_averages(differences: ArrayLike) -> Numbers:
    """The means of all pairs of differences (..., n), each with itself included (..., n (n + 1) / 2)."""
    values = np.asarray(differences, float)
    first, second = np.triu_indices(values.shape[-1])
    return np.asarray((values[..., first] + values[..., second]) / 2)


def hodges_lehmann(differences: ArrayLike) -> Numbers:
    """The typical difference: the median of the `walsh_averages` (Hodges and Lehmann 1963)."""
    return np.asarray(np.median(walsh_averages(differences), axis=-1))


def signed_rank_interval(differences: ArrayLike, level: float = 0.95) -> tuple[Numbers, Numbers]:
    """The interval of the typical difference that inverts Wilcoxon's test (Tukey 1949): the k-th smallest and k-th
    largest of the `walsh_averages`, with P(W <= k - 1) <= (1 - level) / 2 where W is the signed-rank sum.

    Exact for symmetric distributions. NaN where there are too few differences for the level: it takes
    2^-n <= (1 - level) / 2.
    """
    averages = np.sort(walsh_averages(differences), axis=-1)
    n = np.shape(differences)[-1]
    k = int(np.searchsorted(_rank_sums(n), (1 - level) / 2 + 1e-12, side="right"))
    if k == 0:
        return np.full(averages.shape[:-1], np.nan), np.full(averages.shape[:-1], np.nan)
    return averages[..., k - 1], averages[..., -k]


def p_typical_differs(differences: ArrayLike) -> Numbers:
    """The two-sided p value of Wilcoxon's test that the typical difference is none; a difference of just nothing counts
    half to either side."""
    values = np.asarray(differences, float)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(_below(values, 0.0), _below(-values, 0.0))))


def p_typical_equivalent(differences: ArrayLike, margin: float) -> Numbers:
    """The p value of two one-sided signed-rank tests: of a typical difference of at least the margin, either way. NaN
    without a margin."""
    values = np.asarray(differences, float)
    if np.isnan(margin):
        return np.full(values.shape[:-1], np.nan)
    return np.maximum(_below(values, margin), _below(-values, margin))


def _below(differences: Numbers, bound: float) -> Numbers:
    """The one-sided p value of a typical difference of at least the bound: small says that it is below."""
    averages = walsh_averages(differences)
    above = (averages > bound).sum(axis=-1) + (averages == bound).sum(axis=-1) / 2
    return np.asarray(_rank_sums(differences.shape[-1])[np.ceil(above).astype(int)])


@lru_cache(maxsize=256)
def _rank_sums(n: int) -> Numbers:
    """P(W <= w) for w from 0 to n (n + 1) / 2, W the sum of those of the ranks 1 to n whose fair coin shows heads."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        tails = np.concatenate([chances, np.zeros(rank)])
        chances = (tails + np.roll(tails, rank)) / 2
    return np.cumsum(chances)
