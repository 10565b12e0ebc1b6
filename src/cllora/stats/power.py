"""The power of the paired tests, and how many pairs of runs (seeds) they need."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, stdtrit

POWER = 0.8
"""The chance of an answer that `seeds_needed` asks for."""
MOST_SEEDS = 10_000
"""More are called infinitely many."""


def chance_of_differs(effect: float, spread: float, seeds: int, alpha: float = 0.05) -> float:
    """The power of the two-sided paired t test at this true difference and standard deviation of differences.

    P(|T| > t) for T of the noncentral t distribution with n - 1 degrees and noncentrality c = effect sqrt(n) / spread:
    the mean over u = sqrt(chi2_(n-1) / (n - 1)) of Phi(c - t u) + Phi(-c - t u).
    """
    c = math.sqrt(seeds) * effect / spread
    tu = stdtrit(seeds - 1, 1 - alpha / 2) * _observed_spreads(seeds)
    return _mean(ndtr(c - tu) + ndtr(-c - tu))


def chance_of_equivalent(effect: float, spread: float, seeds: int, margin: float, alpha: float = 0.05) -> float:
    """The power of the two one-sided tests at this true difference and standard deviation of differences.

    With c and u as in `chance_of_differs`, m = margin sqrt(n) / spread and t that of one side: the mean over u of
    Phi(m - t u - c) - Phi(-m + t u - c) where t u < m, and of nothing elsewhere (Owen 1965, Phillips 1990).
    """
    c, m = (math.sqrt(seeds) * x / spread for x in (effect, margin))
    room = np.maximum(0.0, m - stdtrit(seeds - 1, 1 - alpha) * _observed_spreads(seeds))
    return _mean(ndtr(room - c) - ndtr(-room - c))


def seeds_needed(effect: float, spread: float, margin: float, alpha: float = 0.05, power: float = POWER) -> float:
    """The fewest seeds at which one of both tests gives its answer with this power, were this the true difference.

    Without a margin (NaN) the test of a difference alone. Infinite beyond `MOST_SEEDS`.
    """

    def enough(seeds: int) -> bool:
        differs = chance_of_differs(effect, spread, seeds, alpha)
        within = 0.0 if math.isnan(margin) else chance_of_equivalent(effect, spread, seeds, margin, alpha)
        return max(differs, within) >= power

    if not spread > 0:
        return 2 if spread == 0 else math.nan
    if not enough(MOST_SEEDS):
        return math.inf
    few, many = 1, MOST_SEEDS
    while many - few > 1:
        half = (few + many) // 2
        few, many = (few, half) if enough(half) else (half, many)
    return many


def seeds_to_tell(difference: float, spread: float, seeds: int, margin: float, alpha: float = 0.05) -> float:
    """The number of seeds that would be needed in all where `seeds` of them decide nothing.

    At the observed spread, as many as it takes to find a difference as large as the margin, and to show equivalence
    where there is none, each with 80 % power: what was observed of the difference is no part of it. If there are that
    many already, the difference lies between nothing and the margin; then what it takes if it is as observed.
    """
    if math.isnan(margin):
        return seeds_needed(abs(difference), spread, margin, alpha)
    planned = max(seeds_needed(true, spread, margin, alpha) for true in (0.0, margin))
    return planned if not planned <= seeds else seeds_needed(abs(difference), spread, margin, alpha)


@lru_cache(maxsize=1)
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The nodes and weights of the integration over numbers between -1 and 1 (Gauss-Legendre)."""
    at, weights = np.polynomial.legendre.leggauss(400)  # takes as long as importing all else of this room
    return at, weights


@lru_cache(maxsize=256)
def _observed_spreads(seeds: int) -> NDArray[np.float64]:
    """u, the observed standard deviation over the true one, at its quantiles that `_mean` takes."""
    freedom = seeds - 1
    return np.asarray(np.sqrt(2 * gammaincinv(freedom / 2, (1 + _nodes()[0]) / 2) / freedom))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values @ _nodes()[1] / 2)
