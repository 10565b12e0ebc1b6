"""Facts: results as data, which `say` turns into sentences, and values of tables that carry their doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from cllora.analysis import Contrast, Results, as_family, typed
from cllora.reports.tables import means


@dataclass(frozen=True)
class Comparison:
    """The difference of a metric between a cell and its control: of several comparisons the largest.

    Because it is chosen, its interval is that of the whole family (`low_holm` to `high_holm`).

    part: what of the metric is compared, such as `length in characters below 15`.
    """

    contrast: Contrast
    part: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero. Without an interval nothing is clear."""
        return self.contrast.low_holm > 0 or self.contrast.high_holm < 0


@dataclass(frozen=True)
class CarriedByFew:
    """A difference whose mean few seeds carry, see `Contrast.carried_by_few`."""

    contrast: Contrast


@dataclass(frozen=True)
class Answers:
    """All comparisons of a metric together."""

    metric: str
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class Range:
    """A number at several places, named by what they are, such as cells; `reason` says why nothing is compared."""

    metric: str
    values: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True)
class Share:
    """`n` of `total`."""

    n: int
    total: int


@dataclass(frozen=True)
class Change:
    """A number before training and after it; `most`: where it was the highest, and how high."""

    metric: str
    before: float | Share
    after: float | Share
    most: tuple[str, float | Share] | None = None


@dataclass(frozen=True)
class Count:
    """The share of things of which something is so; and, if there are several kinds, where it is largest."""

    share: Share
    noun: str
    verb: str
    most: tuple[str, Share] | None = None


@dataclass(frozen=True)
class Tally:
    """The counts of `total` things by kind, in words that follow the number; `among` says what they are of."""

    total: int
    noun: str
    kinds: Mapping[str, int]
    among: str = ""


@dataclass(frozen=True)
class Trend:
    """Whether `y` goes with `x`: Spearman's rho with its 95 % interval (NaN: too little varies to say)."""

    x: str
    y: str
    where: str
    rho: float
    low: float
    high: float
    pairs: int
    clients: int


@dataclass(frozen=True)
class NotMeasured:
    """A quantity that nothing is known of, and why; `asked` is False where the study did not ask for it."""

    quantity: str
    why: str = ""
    asked: bool = True


@dataclass(frozen=True)
class Statement:
    """A sentence that no other kind of fact says, and the numbers that are in it."""

    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)


Fact = Comparison | CarriedByFew | Answers | Range | Change | Count | Tally | Trend | NotMeasured | Statement


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with their standard deviation (NaN: of one)."""

    value: float
    sd: float = math.nan

    @classmethod
    def over(cls, values: "pd.Series[float]") -> "Mean":
        return cls(float(values.mean()), float(values.std()) if values.nunique() > 1 else math.nan)


@dataclass(frozen=True)
class Interval:
    """A difference with its interval (NaN: none)."""

    value: float
    low: float = math.nan
    high: float = math.nan


def largest(contrasts: pd.DataFrame, parts: Sequence[str] = ()) -> Comparison | None:
    """The largest difference among the clear ones of some contrasts, or if none is clear the largest of all.

    Args:
        contrasts: as of `Results.contrasts`; those of several metrics or parts become one family.
        parts: for each row what of the metric it is of.
    """
    family = as_family(contrasts) if len(contrasts) else contrasts
    rows = family.assign(part=list(parts) or "").dropna(subset=["difference"])
    every = [Comparison(contrast, part) for contrast, part in zip(typed(rows), rows["part"], strict=True)]
    among = [comparison for comparison in every if comparison.clear] or every
    return max(among, key=lambda comparison: abs(comparison.contrast.difference), default=None)


def compares(results: Results) -> bool:
    """Whether there are cells to be compared with a control."""
    return bool(results.controls) and len(results.cells) > len(results.controls)


def effect(results: Results, metric: str, table: pd.DataFrame | None = None) -> Fact:
    """The main fact on a metric over the cells: the largest difference to the control, or without one the range.

    Args:
        table: other numbers by cell and seed than the registered metrics, as for `Results.contrasts`.
    """
    if compares(results):
        return compared(metric, results.contrasts(metric, table))
    values = means(results.averaged if table is None else results.counted(table), metric)
    return Range(metric, values, "without a control no difference is tested") if values else NotMeasured(metric)


def effect_on_clients(results: Results, own: str, shared: str) -> Fact:
    """`effect` on a metric of the clients' own test texts, where runs that are compared have the same ones; else on its
    counterpart of texts that all runs share."""
    return effect(results, own if results.tested_alike else shared)


def carried_by_few(results: Results, metric: str) -> tuple[Fact, ...]:
    """The comparison of a metric, if there is one, whose mean lies furthest from the typical difference, carried there
    by few seeds."""
    rows = [row for row in results.comparisons(metric) if row.carried_by_few]
    furthest = max(rows, key=lambda row: abs(row.mean_difference - row.difference), default=None)
    return () if furthest is None else (CarriedByFew(furthest),)


def compared(metric: str, contrasts: pd.DataFrame, parts: Sequence[str] = ()) -> Fact:
    """The largest of some contrasts, or that there is nothing to compare yet."""
    return largest(contrasts, parts) or NotMeasured(metric, "No cell can be compared with its control yet")
