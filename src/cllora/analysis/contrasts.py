"""Contrasts: every cell against its control, paired by seed, with what the difference shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cllora.analysis.pairing import control_values, rows_of_cells
from cllora.metrics import MARGIN, metrics
from cllora.stats import (
    MOST_SEEDS,
    Numbers,
    adjust_for_multiplicity,
    estimate,
    hedges_g,
    interval,
    p_of_difference,
    p_of_equivalence,
    summary,
    t_interval,
)

LEVEL = 0.95
"""The level of every interval; 1 minus it is the chance of a wrong answer."""

Shows = Literal["differs", "equivalent", "undecided"]


@dataclass(frozen=True)
class Contrast:
    """One comparison of a cell with its control on one metric: a row of `Results.contrasts`, whose columns these are
    (with the cell's value on every axis after `against`).

    cell, control: their names.
    against: what sets the control apart, such as `alpha = iid`.
    metric: its name; all numbers below are in its unit unless said otherwise.
    level: of the intervals and tests; 95 % unless the study is looked at more than once.
    mean: the cell's own mean over the pairs.
    by_seed: cell minus control of every pair, in the order of the seeds.
    difference: the typical one of these (Hodges and Lehmann's estimate); of fewer than 8 pairs their mean; NaN without
        any.
    spread: the standard deviation of the differences, divided by n - 1; NaN with fewer than two pairs.
    seeds: the number of pairs n.
    low, high: the interval of `difference` for the comparison by itself: by signed ranks, or of fewer than 8 pairs
        Student's t.
    mean_difference, mean_low, mean_high: the mean of the differences and its t interval, which is wrong more often than
        it says where few seeds come out far off.
    above: the number of pairs with a difference above zero. least, most: the smallest and largest difference.
    size: Hedges' g of the differences (no unit).
    p: of the test of no difference.
    margin: differences smaller than this count as none; NaN where no margin is known.
    p_equivalent: of the two one-sided tests that the difference is within the margin.

    Of the comparison among all of its family, the `comparisons` with pairs (of one metric, unless said otherwise):

    low_holm, high_holm: the interval at the level at which Holm's method decides, which leaves out zero just where the
        difference is shown.
    p_holm, p_equivalent_holm: the p values adjusted by Holm's method.
    differs, equivalent: whether these are at most 1 - level.
    registered: whether it was registered before the study was run (`cllora plan`); where something was, all else is
        exploratory.
    needed, needed_most: the seeds in all that it would take to tell, and what it may take as the spread is not known
        well; NaN where it is decided, or one seed says nothing.
    shows: `differs`, `equivalent` or `undecided`; a difference within the margin counts as `differs`.
    answer: the same in words.
    """

    cell: str
    control: str
    against: str
    metric: str
    level: float
    mean: float
    by_seed: tuple[float, ...]
    difference: float
    spread: float
    seeds: int
    low: float
    high: float
    mean_difference: float
    mean_low: float
    mean_high: float
    above: int
    least: float
    most: float
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
    needed_most: float
    shows: Shows
    answer: str
    registered: bool

    @property
    def carried_by_few(self) -> bool:
        """Whether few seeds carry the mean: it lies further from the typical difference than the margin, or its
        interval leaves that out."""
        apart = abs(self.mean_difference - self.difference) > self.margin
        return apart or self.mean_low > self.difference or self.mean_high < self.difference


NAMES = ("cell", "control", "against")
NUMBERS = tuple(field.name for field in fields(Contrast))[len(NAMES) :]


def contrasts(
    runs: pd.DataFrame,
    axes: Sequence[str],
    control: Mapping[str, str],
    metric: str,
    margin: float | None = None,
    share: float = MARGIN,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare every cell with its control on one number per run, paired by seed; a family of its own.

    A cell's control has the control's values on the axes that `control` names, and the cell's own on the others.

    Args:
        runs: a row per run: a column per axis, `PAIRED_BY`, the metric, and `tests` if it is of clients' own texts.
        margin: differences smaller than this count as none; by default the metric's own: of a loss a `share` of what
            training gained in the controls, for which `runs` need the column `change`; none if it is no registered
            metric, so that cells can be shown to differ but not to be equivalent.

    Returns:
        One row per cell that is no control (none without a control): the axes, and the fields of `Contrast` from
        `metric` on.

    Raises:
        pandas.errors.MergeError: a run would be paired with two, because a control is there twice.
    """
    if not control:
        return pd.DataFrame(columns=[*axes, *NUMBERS])
    values: Numbers = runs[metric].to_numpy(float)
    own = metric in metrics.names() and metrics.metric(metric).texts == "own"
    differences: Numbers = values - control_values(runs, axes, control, metric, same_tests=own).to_numpy(float)
    cells = rows_of_cells(runs, axes, control)
    paired = [rows[~np.isnan(differences[rows])] for rows in cells.values()]
    margins = _margins(runs, axes, control, metric, paired, share) if margin is None else [margin] * len(paired)
    columns = {
        **{axis: [labels[i] for labels in cells] for i, axis in enumerate(axes)},
        "metric": [metric] * len(paired),
        "level": [level] * len(paired),
        "mean": [float(summary(values[rows])[0]) for rows in paired],
        **_alone([differences[rows] for rows in paired], margins, level),
    }
    return as_family(pd.DataFrame(columns))[[*axes, *NUMBERS]]


def _margins(
    runs: pd.DataFrame,
    axes: Sequence[str],
    control: Mapping[str, str],
    metric: str,
    paired: Sequence[NDArray[np.intp]],
    share: float,
) -> list[float]:
    """The margin of each comparison, from the rows of its pairs."""
    about = metrics.metric(metric) if metric in metrics.names() else None
    if about is None or not about.unit.of_gain or "change" not in runs:
        return [math.nan if about is None else about.margin] * len(paired)
    gains = -control_values(runs, axes, control, "change").to_numpy(float)
    return [margin_of(gains[rows].tolist(), share) for rows in paired]


def margin_of(gains: Sequence[float], share: float) -> float:
    """The margin of losses: a share of the mean of what training gained in the controls; NaN if that is nothing."""
    measured = [gain for gain in gains if not math.isnan(gain)]
    mean = sum(measured) / len(measured) if measured else math.nan
    return share * mean if mean > 0 else math.nan


def _alone(differences: Sequence[Numbers], margins: Sequence[float], level: float) -> dict[str, object]:
    """The fields of `Contrast` for each comparison by itself, from the differences of its pairs."""
    mean, spread, seeds = np.array([summary(own) for own in differences]).reshape(-1, 3).T
    low, high = np.array([interval(own, level) for own in differences]).reshape(-1, 2).T
    mean_low, mean_high = t_interval(mean, spread, seeds, level)
    return {
        "by_seed": [tuple(own.tolist()) for own in differences],
        "difference": [estimate(own) for own in differences],
        "spread": spread,
        "seeds": seeds.astype(int),
        "low": low,
        "high": high,
        "mean_difference": mean,
        "mean_low": mean_low,
        "mean_high": mean_high,
        "above": [int((own > 0).sum()) for own in differences],
        "least": [own.min() if len(own) else math.nan for own in differences],
        "most": [own.max() if len(own) else math.nan for own in differences],
        "size": hedges_g(mean, spread, seeds),
        "p": [float(p_of_difference(own)) for own in differences],
        "margin": margins,
        "p_equivalent": [float(p_of_equivalence(own, m)) for own, m in zip(differences, margins, strict=True)],
    }


def as_family(rows: pd.DataFrame) -> pd.DataFrame:
    """Contrasts of one level as one family: all that is of a comparison among others is made anew, see `Contrast`.

    Args:
        rows: those of one metric or, put below each other, of several numbers that are one question.
    """
    differences, margins = [np.asarray(own, float) for own in rows["by_seed"]], rows["margin"].to_numpy(float)
    family = adjust_for_multiplicity(differences, margins, float(rows["level"].iloc[0]) if len(rows) else LEVEL)
    of_each = (differences, margins, family.differs, family.equivalent, family.needed, family.needed_most)
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
        needed_most=family.needed_most,
        shows=[shows for shows, _ in answers],
        answer=[answer for _, answer in answers],
        registered=rows.get("registered", False),
    )


def typed(rows: pd.DataFrame) -> list[Contrast]:
    """The rows of `Results.contrasts` as `Contrast`s."""
    names = [field.name for field in fields(Contrast)]
    return [Contrast(*row) for row in zip(*(rows[name].tolist() for name in names), strict=True)]


def _answer_of(
    differences: Numbers, margin: float, differs: bool, equivalent: bool, needed: float, needed_most: float
) -> tuple[Shows, str]:
    """The answer of a comparison, and the same in words."""
    if len(differences) == 0:
        return "undecided", "no pair of runs to compare"
    if len(differences) > 1 and not differences.any():
        return "equivalent", "the same in every pair"
    if differs:
        return "differs", f"differs, by less than {margin:.2g}" if equivalent else "differs"
    if equivalent:
        return "equivalent", f"equivalent within {margin:.2g}"
    if math.isnan(needed):
        return "undecided", "one seed cannot tell"
    return "undecided", f"not enough seeds to tell ({seeds_text(needed, needed_most)} needed)"


def seeds_text(needed: float, most: float) -> str:
    """The number of seeds in all that it would take to tell, in words: `12 to 24`."""
    if needed > MOST_SEEDS:
        return f"more than {MOST_SEEDS:,}"
    upper = f"{most:,.0f}" if most <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
    return f"about {needed:,.0f}" if most <= needed else f"{needed:,.0f} to {upper}"
