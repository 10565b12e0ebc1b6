"""Several comparisons judged together: Holm's method for p values and intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cllora.stats.differences import interval, needed, p_of_difference, p_of_equivalence
from cllora.stats.paired import Numbers


@dataclass(frozen=True)
class Adjusted:
    """A family of comparisons, adjusted for being several; arrays (M,).

    comparisons: how many of the M have pairs, which are all that count.
    low, high: the interval of each difference at the level at which Holm's procedure decides: 1 - (1 - level) /
        (N - i), where i smaller p values come before and all are rejected; for those not rejected, i counts all that
        are. So an interval leaves out zero just where the difference is shown. Where none is, the intervals are
        Bonferroni's, which hold together. NaN where there are too few pairs for the level.
    p, p_equivalent: of the test of a difference and of equivalence, adjusted; see `holm`.
    differs, equivalent: whether these are at most 1 - level.
    needed, needed_most: the pairs in all that it would take to tell where it is not told yet, at Holm's strictest step,
        (1 - level) / N; see `cllora.stats.differences.needed`. NaN elsewhere.
    """

    comparisons: int
    low: Numbers
    high: Numbers
    p: Numbers
    p_equivalent: Numbers
    differs: NDArray[np.bool_]
    equivalent: NDArray[np.bool_]
    needed: Numbers
    needed_most: Numbers


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


def adjust_for_multiplicity(differences: Sequence[Numbers], margin: ArrayLike, level: float = 0.95) -> Adjusted:
    """Adjust the comparisons of one family for their number, by Holm's method.

    Args:
        differences: of each of the M comparisons, one number for every pair (n,).
        margin: differences smaller than this count as none; NaN where no margin is known. (M,) or one for all.
    """
    margins = np.broadcast_to(np.asarray(margin, float), len(differences)).tolist()
    alpha, paired = 1 - level, np.array([len(values) > 0 for values in differences], bool)
    comparisons = int(paired.sum())
    p, adjusted = _adjusted(np.array([p_of_difference(values) for values in differences]), paired)
    within = [p_of_equivalence(values, m) for values, m in zip(differences, margins, strict=True)]
    _, equivalent = _adjusted(np.array(within), paired)
    rejected = int((adjusted <= alpha).sum())
    before = np.minimum(np.argsort(np.argsort(p, kind="stable"), kind="stable"), rejected)
    levels = 1 - alpha / np.maximum(comparisons - before, 1)
    ends = [interval(values, float(at)) for values, at in zip(differences, levels, strict=True)]
    decided, strictest = (adjusted <= alpha) | (equivalent <= alpha), alpha / max(comparisons, 1)
    seeds = [
        (math.nan, math.nan) if done else needed(values, m, strictest)
        for values, m, done in zip(differences, margins, decided, strict=True)
    ]
    low, high = np.array(ends, float).reshape(-1, 2).T
    about, most = np.array(seeds, float).reshape(-1, 2).T
    return Adjusted(comparisons, low, high, adjusted, equivalent, adjusted <= alpha, equivalent <= alpha, about, most)


def _adjusted(p: Numbers, paired: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """p values, infinite where there is no pair, and their `holm`; what has pairs but no p value counts as 1."""
    filled = np.where(paired, np.where(np.isnan(p), 1.0, p), np.inf)
    adjusted = np.full(len(p), np.nan)
    adjusted[paired] = holm(filled[paired])
    return filled, np.where(np.isnan(p), np.nan, adjusted)
