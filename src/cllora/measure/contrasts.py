"""Every cell against its control, paired by seed: how far apart, and what that shows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cllora.measure.effects import (
    Numbers,
    bootstrap_interval,
    hedges_g,
    holm,
    p_differs,
    p_equivalent,
    summary,
    t_interval,
)
from cllora.measure.outcomes import IN_NATS
from cllora.measure.power import MOST_SEEDS, seeds_to_tell
from cllora.metrics.curves import rounds_to

MARGIN = 0.01
"""Differences in nats per token that are smaller than this are held to be none: 1 % of perplexity."""

_OF_PAIRS = ("mean", "difference", "spread", "seeds", "boot_low", "boot_high")
_OF_THOSE = ("low", "high", "size", "p", "margin", "p_equivalent")


def contrasts(
    runs: pd.DataFrame,
    axes: Sequence[str],
    control: Mapping[str, str],
    metric: str,
    level: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """The mean difference (cell minus control) of one outcome, over the seeds that both have, and its doubt.

    `runs` has a row per run: a column per axis, `seed`, `progress` and `fingerprint` (only runs that came equally far,
    on the same data, are paired) and the outcomes. A cell's control has the control's values on the axes that
    `control` names, and the cell's own on the others. All is of each comparison by itself; `together` comes to answers.

    Args:
        margin: what counts as no difference, in the outcome's own unit; by default `MARGIN` for those in nats per
            token, and for others none, so that they can be shown to differ but not to be equivalent.

    Returns one row per cell that is no control (none without a control): the axes; mean, the cell's own over the pairs;
    difference; spread, the standard deviation of the differences; seeds, the number of pairs; boot_low and boot_high
    as in `bootstrap_interval`; low and high as in `t_interval`; size as in `hedges_g`; p as in `p_differs`; margin;
    and p_equivalent.

    Raises:
        pandas.errors.MergeError: a run would be paired with two, because a control is there twice.
    """
    if not control:
        return pd.DataFrame(columns=[*axes, *_OF_PAIRS, *_OF_THOSE])
    differences = runs[metric] - control_values(runs, axes, control, metric)
    pairs = runs.assign(_difference=differences)[~_is_control(runs, control)]
    rows = []
    for labels, pair in pairs.groupby(list(axes), sort=False):
        known = pair.dropna(subset=["_difference"])
        difference, spread, seeds = summary(known["_difference"])
        found = (known[metric].mean(), difference, spread, seeds, *bootstrap_interval(known["_difference"], level))
        rows.append({**dict(zip(axes, labels, strict=True)), **dict(zip(_OF_PAIRS, found, strict=True))})
    table = pd.DataFrame(rows, columns=[*axes, *_OF_PAIRS])
    of = _of(table)
    if margin is None:
        margin = MARGIN if metric in IN_NATS else math.nan
    low, high = t_interval(*of, level)
    return table.assign(
        low=low,
        high=high,
        size=hedges_g(*of),
        p=p_differs(*of),
        margin=margin,
        p_equivalent=p_equivalent(*of, margin),
    )


def together(found: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """`contrasts` as one family of N comparisons, with an answer to each (Holm 1979).

    N counts the comparisons that have pairs. Adds comparisons = N; p_holm and p_equivalent_holm, see `holm`; differs
    and equivalent, where these are at most 1 - level; needed, the seeds in all that it would take to tell where it is
    not told yet, see `seeds_to_tell` (at Holm's strictest step, (1 - level) / N); and answer, in words.

    low and high become those of the level at which Holm's procedure decides: 1 - (1 - level) / (N - i) where i smaller
    p values come before and all are rejected; for those not rejected, i counts all that are. So an interval leaves out
    zero just where the answer is that it differs. Where nothing differs they are Bonferroni's, which hold together.
    """
    alpha = 1 - level
    known = found["difference"].notna().to_numpy()
    many = int(known.sum())
    p, p_holm = _adjusted(found["p"], known)
    _, within_holm = _adjusted(found["p_equivalent"], known)
    rejected = int((p_holm <= alpha).sum())
    before = np.minimum(np.argsort(np.argsort(p, kind="stable"), kind="stable"), rejected)
    decides = 1 - alpha / np.maximum(many - before, 1)
    of = _of(found)
    low, high = t_interval(*of, decides)
    judged = found.assign(
        low=low,
        high=high,
        comparisons=many,
        p_holm=p_holm,
        p_equivalent_holm=within_holm,
        differs=p_holm <= alpha,
        equivalent=within_holm <= alpha,
    )
    open_ = ~(judged["differs"] | judged["equivalent"]) & (judged["seeds"] > 1)
    needed = [
        seeds_to_tell(difference, spread, int(seeds), margin, alpha / max(many, 1)) if asked else math.nan
        for difference, spread, seeds, margin, asked in zip(*of, found["margin"].to_numpy(float), open_, strict=True)
    ]
    judged = judged.assign(needed=needed)
    return judged.assign(answer=[_answer(row) for _, row in judged.iterrows()])


def control_values(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str], metric: str
) -> "pd.Series[float]":
    """Of each run, the outcome of the control that it is compared with (of a control, its own); NaN without one.

    Raises:
        pandas.errors.MergeError: a run would have two, because a control is there twice.
    """
    if not control:
        return pd.Series(math.nan, index=runs.index)
    keys = [*(axis for axis in axes if axis not in control), "seed", "progress", "fingerprint"]
    of_control = runs.loc[_is_control(runs, control), [*keys, metric]]
    found = runs[keys].merge(of_control, on=keys, how="left", validate="many_to_one")
    return found[metric].astype(float).set_axis(runs.index)


def rounds_to_control(
    runs: pd.DataFrame, curves: Sequence[pd.DataFrame], axes: Sequence[str], control: Mapping[str, str]
) -> pd.DataFrame:
    """How soon each run is as good as its control is at the end: a row per run of `runs`.

    rounds_to_control is the first evaluated round whose global loss is no higher than the final one of the control of
    the same seed; a run that never comes there is censored and counts its last round, the least that it can be.
    reached_control is 1 or, for those, 0. A control is compared with itself, so its own number may be below its last
    round. Means are thus of the time restricted to the rounds that were run, and differences of censored runs are
    bounds: read them with the share that reached it. NaN without a control.

    Args:
        runs: as in `contrasts`, with `final_loss`.
        curves: the `global_curve` of every run, in the order of its rows.
    """
    rows = [
        (math.nan, math.nan) if math.isnan(target) else rounds_to(curve, target)
        for curve, target in zip(curves, control_values(runs, axes, control, "final_loss"), strict=True)
    ]
    return pd.DataFrame(rows, columns=["rounds_to_control", "reached_control"], index=runs.index, dtype=float)


def _of(found: pd.DataFrame) -> tuple[Numbers, Numbers, Numbers]:
    """Difference, spread and seeds of every comparison."""
    return found["difference"].to_numpy(float), found["spread"].to_numpy(float), found["seeds"].to_numpy(float)


def _is_control(runs: pd.DataFrame, control: Mapping[str, str]) -> "pd.Series[bool]":
    found = pd.Series(True, index=runs.index)
    for axis, value in control.items():
        found &= runs[axis] == value
    return found


def _adjusted(column: "pd.Series[float]", known: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """p values, infinite where there is no pair, and their `holm`; what has pairs but no p value counts as 1."""
    p = column.to_numpy(float)
    filled = np.where(known, np.where(np.isnan(p), 1.0, p), np.inf)
    adjusted = np.full(len(p), np.nan)
    adjusted[known] = holm(filled[known])
    return filled, np.where(np.isnan(p), np.nan, adjusted)


def _answer(row: "pd.Series[Any]") -> str:
    """What a comparison shows, in words."""
    if row["seeds"] == 0:
        return "no pair of runs to compare"
    if row["seeds"] > 1 and row["difference"] == row["spread"] == 0:
        return "the same in every pair"
    if row["differs"]:
        return f"differs, by less than {row['margin']:g}" if row["equivalent"] else "differs"
    if row["equivalent"]:
        return f"equivalent within {row['margin']:g}"
    if math.isnan(row["needed"]):
        return "one seed cannot tell"
    needed = f"about {row['needed']:,.0f}" if row["needed"] <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
    return f"not enough seeds to tell ({needed} needed)"
