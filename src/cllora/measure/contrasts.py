"""Every cell against its control, paired by seed."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit


def paired_interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of the differences (n,) and Student's t interval for it: mean +- t_(n-1) s / sqrt(n), s with n - 1.

    With fewer than two differences there is no interval: low and high are NaN.
    """
    values = np.asarray(differences, float)
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def contrasts(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str], metric: str, level: float = 0.95
) -> pd.DataFrame:
    """The mean difference (cell minus control) of one outcome, over the seeds that both have.

    `runs` has a row per run: a column per axis, `seed`, `progress` and `fingerprint` (only runs that came equally far,
    on the same data, are paired) and the outcomes. A cell's control has the control's values on the axes that
    `control` names, and the cell's own on the others. Intervals are for each comparison by itself: see `together`.

    Returns one row per cell that is no control (none without a control): the axes, the cell's own mean over the
    pairs, difference, low, high, and seeds, the number of pairs.

    Raises:
        pandas.errors.MergeError: a run would be paired with two, because a control is there twice.
    """
    columns = [*axes, "mean", "difference", "low", "high", "seeds"]
    if not control:
        return pd.DataFrame(columns=columns)
    others = [axis for axis in axes if axis not in control]
    is_control = pd.Series(True, index=runs.index)
    for axis, value in control.items():
        is_control &= runs[axis] == value
    keys = [*others, "seed", "progress", "fingerprint"]
    pairs = runs[~is_control].merge(
        runs.loc[is_control, [*keys, metric]],
        on=keys,
        how="left",
        suffixes=("", "_control"),
        validate="many_to_one",
    )
    pairs = pairs.assign(difference=pairs[metric] - pairs[f"{metric}_control"])
    rows = []
    for labels, pair in pairs.groupby(list(axes), sort=False):
        known = pair.dropna(subset=["difference"])
        difference, low, high = paired_interval(known["difference"], level)
        named = dict(zip(axes, labels, strict=True))
        rows.append(
            {
                **named,
                "mean": known[metric].mean(),
                "difference": difference,
                "low": low,
                "high": high,
                "seeds": len(known),
            }
        )
    return pd.DataFrame(rows, columns=columns)


def together(found: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """`contrasts` made at this level, their intervals widened until all N cover at once with its probability.

    Whoever picks the largest of N comparisons needs that. By Bonferroni each has the level 1 - (1 - level) / N, where N
    counts the comparisons that have pairs; it becomes the column `comparisons`.
    """
    many = int(found["difference"].notna().sum())
    freedom = found["seeds"].astype(float) - 1
    alone, joint = (stdtrit(freedom, 1 - (1 - level) / (2 * n)) for n in (1, max(many, 1)))
    half = (found["high"] - found["difference"]) * joint / alone
    return found.assign(low=found["difference"] - half, high=found["difference"] + half, comparisons=many)
