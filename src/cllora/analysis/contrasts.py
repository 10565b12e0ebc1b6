"""Contrasts: every cell against its control, paired by seed, with what the difference shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    needed: the seeds in all that it would take to tell; NaN where it is decided, or one seed says nothing.
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
JUDGED = ("difference", "spread", "seeds", "margin")
"""The columns that a comparison is judged by among others."""


def contrasts(
    runs: pd.DataFrame,
    axes: Sequence[str],
    control: Mapping[str, str],
    metric: str,
    margin: float | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare every cell with its control on one number per run, paired by seed; a family of its own.

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
    values: Numbers = runs[metric].to_numpy(float)
    differences: Numbers = values - control_values(runs, axes, control, metric).to_numpy(float)
    cells = _rows_of_cells(runs, axes, control)
    paired = [rows[~np.isnan(differences[rows])] for rows in cells.values()]
    if margin is None:
        margin = metrics.metric(metric).margin if metric in metrics.names() else math.nan
    columns = {
        **{axis: [labels[i] for labels in cells] for i, axis in enumerate(axes)},
        "metric": [metric] * len(paired),
        "mean": [summary(values[rows])[0] for rows in paired],
        **_alone([differences[rows] for rows in paired], margin, level),
    }
    return as_family(pd.DataFrame(columns), level)[[*axes, *NUMBERS]]


def _rows_of_cells(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str]
) -> dict[tuple[str, ...], NDArray[np.intp]]:
    """The rows of every cell that is no control, by its values on the axes."""
    rows: dict[tuple[str, ...], list[int]] = {}
    others = np.flatnonzero(~_is_control(runs, control)).tolist()
    for row, labels in zip(others, zip(*(runs[axis].to_numpy()[others] for axis in axes), strict=True), strict=True):
        rows.setdefault(labels, []).append(row)
    return {labels: np.asarray(own) for labels, own in rows.items()}


def _alone(differences: Sequence[Numbers], margin: float, level: float) -> dict[str, Any]:
    """The fields of `Contrast` for each comparison by itself, from the differences of its pairs."""
    difference, spread, seeds = np.array([summary(own) for own in differences]).reshape(-1, 3).T
    boot_low, boot_high = np.array([_bootstrap(own, level) for own in differences]).reshape(-1, 2).T
    low, high = t_interval(difference, spread, seeds, level)
    return {
        "difference": difference,
        "spread": spread,
        "seeds": seeds.astype(int),
        "low": low,
        "high": high,
        "boot_low": boot_low,
        "boot_high": boot_high,
        "size": hedges_g(difference, spread, seeds),
        "p": p_differs(difference, spread, seeds),
        "margin": margin,
        "p_equivalent": p_equivalent(difference, spread, seeds, margin),
    }


def as_family(rows: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Contrasts as one family: all that is of a comparison among others is made anew, see `Contrast`.

    Args:
        rows: those of one metric or, put below each other, of several numbers that are one question.
    """
    difference, spread, seeds, margin = (rows[name].to_numpy(float) for name in JUDGED)
    family = adjust_for_multiplicity(difference, spread, seeds, margin, level)
    of_each = (seeds, difference, spread, margin, family.differs, family.equivalent, family.needed)
    answers = [_answer_of(*numbers) for numbers in zip(*of_each, strict=True)]
    return rows.assign(
        comparisons=family.comparisons,
        low_holm=family.low,
        high_holm=family.high,
        p_holm=family.p,
        p_equivalent_holm=family.p_equivalent,
        differs=family.differs,
        equivalent=family.equivalent,
        needed=family.needed,
        shows=[shows for shows, _ in answers],
        answer=[answer for _, answer in answers],
    )


def typed(rows: pd.DataFrame) -> list[Contrast]:
    """The rows of `Results.contrasts` as `Contrast`s."""
    names = [field.name for field in fields(Contrast)]
    return [Contrast(*row) for row in rows[names].itertuples(index=False, name=None)]


def control_values(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str], column: str
) -> "pd.Series[float]":
    """The control's value in a column, for each run (of a control, its own); NaN without a control.

    Raises:
        pandas.errors.MergeError: a run would have two, because a control is there twice.
    """
    if not control:
        return pd.Series(math.nan, index=runs.index)
    keys = [runs[name].tolist() for name in (*(axis for axis in axes if axis not in control), *PAIRED_BY)]
    paired_by = list(zip(*keys, strict=True))
    values = runs[column].to_numpy(float)
    controls = np.flatnonzero(_is_control(runs, control))
    of_control = {paired_by[row]: values[row] for row in controls}
    if len(of_control) < len(controls):
        raise pd.errors.MergeError("a control is there twice")
    return pd.Series([of_control.get(key, math.nan) for key in paired_by], index=runs.index, dtype=float)


def _is_control(runs: pd.DataFrame, control: Mapping[str, str]) -> NDArray[np.bool_]:
    agrees = np.ones(len(runs), bool)
    for axis, value in control.items():
        agrees &= (runs[axis] == value).to_numpy(bool)
    return agrees


def _bootstrap(differences: Numbers, level: float) -> tuple[float, float]:
    """The bootstrap interval; its draws are named by the number of pairs, so equal differences have equal ones."""
    return bootstrap_interval(differences, rng(0, "bootstrap", len(differences)), level)


def _answer_of(
    seeds: float, difference: float, spread: float, margin: float, differs: bool, equivalent: bool, needed: float
) -> tuple[Shows, str]:
    """The answer of a comparison, and the same in words."""
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
