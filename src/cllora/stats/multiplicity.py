"""Several comparisons judged together: Holm's method for p values, intervals, and answers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cllora.stats.paired import Numbers, p_differs, p_equivalent, t_interval
from cllora.stats.power import seeds_to_tell


@dataclass(frozen=True)
class Adjusted:
    """A family of comparisons, adjusted for being several; arrays (M,).

    comparisons: how many of the M have pairs, which are all that count.
    low, high: the interval of each difference at the level at which Holm's procedure decides: 1 - (1 - level) /
        (N - i), where i smaller p values come before and all are rejected; for those not rejected, i counts all that
        are. So an interval leaves out zero just where the difference is shown. Where none is, the intervals are
        Bonferroni's, which hold together.
    p, p_equivalent: of the test of a difference and of equivalence, adjusted; see `holm`.
    differs, equivalent: whether these are at most 1 - level.
    needed: the pairs in all that it would take to tell where it is not told yet, at Holm's strictest step,
        (1 - level) / N; see `seeds_to_tell`. NaN elsewhere.
    """

    comparisons: int
    low: Numbers
    high: Numbers
    p: Numbers
    p_equivalent: Numbers
    differs: NDArray[np.bool_]
    equivalent: NDArray[np.bool_]
    needed: Numbers


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


def adjust_for_multiplicity(
    mean: ArrayLike, spread: ArrayLike, n: ArrayLike, margin: ArrayLike, level: float = 0.95
) -> Adjusted:
    """Adjust the comparisons of one family for their number, by Holm's method.

    Args:
        mean, spread, n: of the differences of each comparison (M,), as in `cllora.stats.paired`; a mean is NaN where
            there are no pairs.
        margin: differences smaller than this count as none; NaN where no margin is known. (M,) or one for all.
    """
    mean, spread, n = (np.asarray(values, float) for values in (mean, spread, n))
    margins = np.broadcast_to(np.asarray(margin, float), mean.shape)
    alpha, paired = 1 - level, ~np.isnan(mean)
    comparisons = int(paired.sum())
    p, adjusted = _adjusted(p_differs(mean, spread, n), paired)
    _, equivalent = _adjusted(p_equivalent(mean, spread, n, margins), paired)
    rejected = int((adjusted <= alpha).sum())
    before = np.minimum(np.argsort(np.argsort(p, kind="stable"), kind="stable"), rejected)
    low, high = t_interval(mean, spread, n, 1 - alpha / np.maximum(comparisons - before, 1))
    decided = (adjusted <= alpha) | (equivalent <= alpha)
    strictest = alpha / max(comparisons, 1)
    needed = [
        seeds_to_tell(*row, strictest) if untold else math.nan
        for row, untold in zip(zip(mean, spread, n.astype(int), margins, strict=True), ~decided & (n > 1), strict=True)
    ]
    return Adjusted(
        comparisons,
        low,
        high,
        p=adjusted,
        p_equivalent=equivalent,
        differs=adjusted <= alpha,
        equivalent=equivalent <= alpha,
        needed=np.asarray(needed, float),
    )


def _adjusted(p: Numbers, paired: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """p values, infinite where there is no pair, and their `holm`; what has pairs but no p value counts as 1."""
    filled = np.where(paired, np.where(np.isnan(p), 1.0, p), np.inf)
    adjusted = np.full(len(p), np.nan)
    adjusted[paired] = holm(filled[paired])
    return filled, np.where(np.isnan(p), np.nan, adjusted)
