"""Contrasts: every cell against its control, paired by seed, with what the difference shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import pandas as pd

from cllora.metrics import metrics
from cllora.seeds import rng
from cllora.stats import (
    MOST_SEEDS,
    Numbers,
    adjust_for_multiplicity,
    bootstrap_interval,
    hedges_g,
    p_differs,
    p_equivalent,
    summary,
    t_interval,
)

LEVEL = 0.95
"""The level of every interval; 1 minus it is the chance of a wrong answer."""

Shows = Literal["differs", "equivalent", "undecided"]

PAIRED_BY = ("seed", "progress", "fingerprint")
"""Columns in which a run and its control agree, beside the axes: only runs that came equally far on the same data are
compared."""


@dataclass(frozen=True)
class Contrast:
    """One comparison of a cell with its control on one metric: a row of `Results.contrasts`, whose columns these are
    (with the cell's value on every axis after `against`).

    cell, control: their names.
    against: what sets the control apart, such as `alpha = iid`.
    metric: its name; all numbers below are in its unit unless said otherwise.
    mean: the cell's own mean over the pairs.
    difference: the mean of cell minus control over the pairs; NaN without any.
    spread: the standard deviation of the differences, divided by n - 1; NaN with fewer than two pairs.
    seeds: the number of pairs n.
    low, high: the 95 % t interval of the comparison by itself.
    boot_low, boot_high: its bootstrap interval; NaN with fewer than 8 pairs.
    size: Hedges' g of the differences (no unit).
    p: of the paired t test of no difference.
    margin: differences smaller than this count as none; NaN where no margin is known.
    p_equivalent: of the two one-sided tests that the difference is within the margin.

    Of the comparison among all of its family, the `comparisons` with pairs (of one metric, unless said otherwise):

    low_holm, high_holm: the interval at the level at which Holm's method decides, which leaves out zero just where the
        difference is shown.
    p_holm, p_equivalent_holm: the p values adjusted by Holm's method.
    differs, equivalent: whether these are at most 0.05.
    needed: the seeds in all that it would take to tell; NaN where it is told, or one seed says nothing.
    shows: `differs`, `equivalent` or `undecided`; a difference within the margin counts as `differs`.
    answer: the same in words.
    """

    cell: str
    control: str
    against: str
    metric: str
    mean: float
    difference: float
    spread: float
    seeds: int
    low: float
    high: float
    boot_low: float
    boot_high: float
    size: float
    p: float
    margin: float
    p_equivalent: float
    comparisons: int
    low_holm: float
    high_holm: float
    p_holm: float
    p_equivalent_holm: float
    differs: bool
    equivalent: bool
    needed: float
    shows: Shows
    answer: str


NAMES = ("cell", "control", "against")
NUMBERS = tuple(field.name for field in fields(Contrast))[len(NAMES) :]
_OF_PAIRS = ("mean", "difference", "spread", "seeds", "boot_low", "boot_high")


def contrasts(
    runs: pd.DataFrame,
    axes: Sequence[str],
    control: Mapping[str, str],
    metric: str,
    margin: float | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compares every cell with its control on one number per run, paired by seed; a family of its own.

    A cell's control has the control's values on the axes that `control` names, and the cell's own on the others.

    Args:
        runs: a row per run: a column per axis, `PAIRED_BY`, and the metric.
        margin: differences smaller than this count as none; by default the metric's own, or none if it is no
            registered metric, so that cells can be shown to differ but not to be equivalent.

    Returns:
        One row per cell that is no control (none without a control): the axes, and the fields of `Contrast` from
        `metric` on.

    Raises:
        pandas.errors.MergeError: a run would be paired with two, because a control is there twice.
    """
    if not control:
        return pd.DataFrame(columns=[*axes, *NUMBERS])
    differences = runs[metric] - control_values(runs, axes, control, metric)
    pairs = runs.assign(_difference=differences)[~_is_control(runs, control)]
    rows = []
    for labels, of_cell in pairs.groupby(list(axes), sort=False):
        paired = of_cell.dropna(subset=["_difference"])
        of_pairs = (paired[metric].mean(), *summary(paired["_difference"]), *_bootstrap(paired["_difference"], level))
        rows.append({**dict(zip(axes, labels, strict=True)), **dict(zip(_OF_PAIRS, of_pairs, strict=True))})
    table = pd.DataFrame(rows, columns=[*axes, *_OF_PAIRS])
    if margin is None:
        margin = metrics.metric(metric).margin if metric in metrics.names() else math.nan
    differing = _differences(table)
    low, high = t_interval(*differing, level)
    alone = table.assign(
        metric=metric,
        low=low,
        high=high,
        size=hedges_g(*differing),
        p=p_differs(*differing),
        margin=margin,
        p_equivalent=p_equivalent(*differing, margin),
    )
    return as_family(alone, level)[[*axes, *NUMBERS]]


def as_family(rows: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Contrasts as one family: all that is of a comparison among others is made anew, see `Contrast`.

    Args:
        rows: those of one metric or, put below each other, of several numbers that are one question.
    """
    family = adjust_for_multiplicity(*_differences(rows), rows["margin"].to_numpy(float), level)
    judged = rows.assign(
        comparisons=family.comparisons,
        low_holm=family.low,
        high_holm=family.high,
        p_holm=family.p,
        p_equivalent_holm=family.p_equivalent,
        differs=family.differs,
        equivalent=family.equivalent,
        needed=family.needed,
    )
    columns = ("seeds", "difference", "spread", "margin", "differs", "equivalent", "needed")
    told = [_told(*row) for row in judged[[*columns]].itertuples(index=False, name=None)]
    return judged.assign(shows=[shows for shows, _ in told], answer=[answer for _, answer in told])


def typed(rows: pd.DataFrame) -> list[Contrast]:
    """The rows of `Results.contrasts` as `Contrast`s."""
    names = [field.name for field in fields(Contrast)]
    return [Contrast(*row) for row in rows[names].itertuples(index=False, name=None)]


def control_values(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str], column: str
) -> "pd.Series[float]":
    """Of each run, the control's value in a column (of a control, its own); NaN without a control.

    Raises:
        pandas.errors.MergeError: a run would have two, because a control is there twice.
    """
    if not control:
        return pd.Series(math.nan, index=runs.index)
    keys = [*(axis for axis in axes if axis not in control), *PAIRED_BY]
    of_control = runs.loc[_is_control(runs, control), [*keys, column]]
    values = runs[keys].merge(of_control, on=keys, how="left", validate="many_to_one")[column]
    return values.astype(float).set_axis(runs.index)


def _is_control(runs: pd.DataFrame, control: Mapping[str, str]) -> "pd.Series[bool]":
    agrees = pd.Series(True, index=runs.index)
    for axis, value in control.items():
        agrees &= runs[axis] == value
    return agrees


def _bootstrap(differences: "pd.Series[float]", level: float) -> tuple[float, float]:
    """The bootstrap interval; its draws are named by the number of pairs, so equal differences have equal ones."""
    return bootstrap_interval(differences, rng(0, "bootstrap", len(differences)), level)


def _differences(rows: pd.DataFrame) -> tuple[Numbers, Numbers, Numbers]:
    """Difference, spread and number of pairs of every comparison."""
    return rows["difference"].to_numpy(float), rows["spread"].to_numpy(float), rows["seeds"].to_numpy(float)


def _told(
    seeds: int, difference: float, spread: float, margin: float, differs: bool, equivalent: bool, needed: float
) -> tuple[Shows, str]:
    """What a comparison shows, and that in words."""
    if seeds == 0:
        return "undecided", "no pair of runs to compare"
    if seeds > 1 and difference == spread == 0:
        return "equivalent", "the same in every pair"
    if differs:
        return "differs", f"differs, by less than {margin:g}" if equivalent else "differs"
    if equivalent:
        return "equivalent", f"equivalent within {margin:g}"
    if math.isnan(needed):
        return "undecided", "one seed cannot tell"
    many = f"about {needed:,.0f}" if needed <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
    return "undecided", f"not enough seeds to tell ({many} needed)"
