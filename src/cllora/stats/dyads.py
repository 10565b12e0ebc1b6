"""The rank correlation of two things about pairs of units (dyads), which are not independent of each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from cllora.stats.paired import Numbers

FEWEST_PAIRS = 5
"""With fewer pairs nothing is said of how two things relate."""

MOST_LEFT_OUT = 2000
"""In a block with more pairs they are not left out one by one, which would take long; the interval is wider for it."""


@dataclass(frozen=True)
class Block:
    """Pairs of units that are compared with each other alone, such as those of one run.

    units: the two units of each pair (n, 2). x, y, trend: numbers of each pair (n,); `trend` is taken out of both.
    """

    units: NDArray[np.int64]
    x: Numbers
    y: Numbers
    trend: Numbers


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho between two things about pairs, its interval, and how many pairs and units it is from."""

    rho: float
    low: float
    high: float
    pairs: int
    units: int


def dyadic_correlation(blocks: Sequence[Block], level: float = 0.95) -> Correlation:
    """Spearman's rank correlation of x and y over pairs of units, within blocks, the trend taken out.

    Within each block x, y and the trend are ranked, and the first two are replaced by what is left of them after
    regression on the third; rho is their correlation over all blocks.

    A unit is in many pairs, which are therefore not independent: counting pairs would make the interval too short. The
    interval is a jackknife over units, whose variance counts each pair twice, once per unit; the variance of a
    jackknife over pairs is subtracted once, and is the least there is (the dyadic-robust variance of Aronow, Samii and
    Assenova 2015, arXiv 1312.3398, by leaving out). Of z = artanh rho, with Student's t, N - 1 degrees of freedom for N
    units.

    NaN where there are fewer than `FEWEST_PAIRS` pairs, or no differences to rank.
    """
    ordered = [_places(block) for block in blocks]
    sums = np.array([_rank_sums(places) for places in ordered]).reshape(len(blocks), 3)
    total, pairs = sums.sum(axis=0), sum(len(block.x) for block in blocks)
    z = math.nan if pairs < FEWEST_PAIRS else _artanh(total)
    without_unit, without_pair = [], []
    for own, block, places in zip(sums, blocks, ordered, strict=True):
        rest, units = total - own, block.units
        others = [(units != unit).all(axis=1) for unit in np.unique(units)]
        without_unit += [_artanh(rest + _rank_sums(places[:, kept])) for kept in others]
        distinct = np.unique(units, axis=0) if len(units) <= MOST_LEFT_OUT else units[:0]
        without_pair += [_artanh(rest + _rank_sums(places[:, (units != pair).any(axis=1)])) for pair in distinct]
    n, half = len(without_unit), math.nan
    if n > 2 and not math.isnan(z):
        variance = max(_jackknife(without_unit) - _jackknife(without_pair), _jackknife(without_pair))
        half = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance)
    return Correlation(math.tanh(z), math.tanh(z - half), math.tanh(z + half), pairs, n)


def _jackknife(without: Sequence[float]) -> float:
    """The variance of an estimate, from its values without each of n things: (n - 1)/n sum (z_i - mean)^2."""
    return float(np.var(without)) * (len(without) - 1) if without else 0.0


def _places(block: Block) -> NDArray[np.int64]:
    """The place of each pair's x, y and trend among the block's distinct values (3, n): sorted once, for what is ranked
    again without each pair."""
    return np.array([np.unique(values, return_inverse=True)[1] for values in (block.x, block.y, block.trend)])


def _rank_sums(places: NDArray[np.int64]) -> Numbers:
    """The sums xy, xx and yy of the ranks of pairs (3, n), with the trend taken out of x and y.

    Divided by n^2, so that a block counts by its pairs.
    """
    x, y, t = map(_centred_ranks, places)
    n = len(x)
    if n < 2:
        return np.zeros(3)
    trend = t / math.sqrt(t @ t) if t.any() else t
    x, y = x - (x @ trend) * trend, y - (y @ trend) * trend
    return np.array([x @ y, x @ x, y @ y]) / n**2


def _centred_ranks(places: NDArray[np.int64]) -> Numbers:
    """Ranks (n,) of what has these places in an order, equal ones sharing the mean of theirs, less their mean."""
    counts = np.bincount(places)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return np.asarray(ranks - (len(places) + 1) / 2)


def _artanh(sums: Numbers) -> float:
    """Fisher's z of the correlation that these sums make; NaN where one side does not vary."""
    xy, xx, yy = sums
    if min(xx, yy) < 1e-9:
        return math.nan
    return math.atanh(min(max(xy / math.sqrt(xx * yy), -1 + 1e-9), 1 - 1e-9))
