"""A feature made independent of length: each text's place among texts of about its length."""

import numpy as np
from numpy.typing import NDArray

from cllora.types import Array

Lengths = NDArray[np.int64]

SHARE, FEWEST, MOST = 0.02, 10, 100
"""The texts on either side that a text is compared with: this share of the pool, within these bounds."""


def place_at_length(values: Array, lengths: Lengths, pool: NDArray[np.int64]) -> Array:
    """Each text's place among the pool's texts of about its length: the share below it and half of its equals, 0 to 1.

    Those are the texts of its very length, and as many shorter ones (the longest of them) as longer ones (the
    shortest): 2 % of the pool on either side, at least 10 and at most 100, fewer at the ends, where there are no more.
    A regression by ranks and neighbours, and so of no assumed form. A straight line on log length would leave every
    bend in place, and with it the greater spread that most features have over short texts: the outer classes would be
    classes of short texts again. Here every length has places from 0 to 1. Among texts of one length the feature's
    order stays; what is a function of length alone comes to ½.

    Args:
        values, lengths: of all texts, shape (n,); lengths are their own tokens, uncut.
        pool: the indices of the texts that are compared with.

    Returns:
        Shape (n,).
    """
    order = pool[np.argsort(lengths[pool], kind="stable")]
    sorted_lengths, sorted_values = lengths[order], values[order]
    side = int(np.clip(SHARE * len(pool), FEWEST, MOST))
    places = np.empty(len(values))
    by_length = np.argsort(lengths, kind="stable")
    distinct, starts = np.unique(lengths[by_length], return_index=True)
    firsts = np.searchsorted(sorted_lengths, distinct, side="left")
    lasts = np.searchsorted(sorted_lengths, distinct, side="right")
    for members, first, last in zip(np.split(by_length, starts[1:]), firsts, lasts, strict=True):
        around = min(side, int(first), len(order) - int(last))
        if around == 0 and first == last:
            around = side  # no text of the pool has this length, nor is there one on both sides
        alike = np.sort(sorted_values[max(0, first - around) : last + around])
        below = np.searchsorted(alike, values[members], side="left")
        up_to = np.searchsorted(alike, values[members], side="right")
        places[members] = (below + up_to) / 2 / len(alike)
    return places


def rank_correlation(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    """Spearman's rank correlation of two columns (n,), equal values sharing their rank; 0 if one is constant."""
    from scipy.stats import spearmanr  # takes long to load

    if (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    return float(spearmanr(x, y).statistic)
