"""A section of the report as data: facts, figure specifications and a table. It neither draws nor writes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from cllora.analysis import Results
from cllora.errors import UsageError
from cllora.metrics.formats import capital
from cllora.registry import Registry, guess
from cllora.reports.facts import Fact, NotMeasured
from cllora.reports.figure import Figure

BASE = "the base, before training"
"""The series of the untrained base, which figures draw dotted and in grey."""


@dataclass(frozen=True)
class FigureSpec:
    """The specification of a figure of any kind.

    table: the numbers that it shows; a column is called as the catalogue has it (`cllora.reports.columns.column`).
    title: stands above it.
    facet: a column; there is a picture for each of its values, called by that value.
    most: pictures that the page has room for (0: any number); the section says how many are left out.
    """

    table: pd.DataFrame
    title: str = field(default="", kw_only=True)
    facet: str = field(default="", kw_only=True)
    most: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Forest(FigureSpec):
    """Comparisons as points with their intervals: the table has rows of `Results.contrasts`, and a column `chance` with
    the size of difference that one seed shows by chance (NaN: not known)."""


@dataclass(frozen=True)
class Lines(FigureSpec):
    """Lines of `y` over `x`, numbers or categories, in a colour for each value of `by`.

    units: columns that tell the single lines of a colour apart, which are drawn thin; without any a colour is a line.
    mean: whether a thick line shows the mean over the units at those `x` that all of them have.
    band: whether a band around it shows one standard deviation (divided by n - 1) to either side.
    marks: points to be marked on the lines, with columns `x`, `y` and `by` as here, mark (a name) and text.
    references: values of `by` that others are compared with; by default, of cells, the controls.
    ticks: values of `x` that are named on the axis; by default what suits.
    log: whether both axes are logarithmic.
    zero: whether a line marks `y` = 0.
    text: a column of words for the reader who points at a line.
    """

    x: str
    y: str
    by: str = "cell"
    units: tuple[str, ...] = ("seed",)
    mean: bool = True
    band: bool = True
    marks: pd.DataFrame | None = None
    references: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()
    log: bool = False
    zero: bool = False
    text: str = ""


@dataclass(frozen=True)
class Dots(FigureSpec):
    """Dots of `y` over `x`, in a colour for each value of `by`. With `y` = "cell" every cell is a row.

    units: columns that name a single dot, such as client and seed, for the reader who points at it.
    box: whether each row has a box from quartile to quartile and its mean.
    joined: whether a line joins the dots of a row.
    trend: whether lines go through the means of fifths of the dots, by `x`.
    log: whether `x` is logarithmic.
    zero: whether a line marks `x` = 0.
    """

    x: str
    y: str = "cell"
    by: str = "cell"
    units: tuple[str, ...] = ()
    box: bool = False
    joined: bool = False
    trend: bool = False
    log: bool = False
    zero: bool = False


@dataclass(frozen=True)
class Bars(FigureSpec):
    """Bars of `y` over `x`, stacked by `by`; with `y` = "cell" they lie, a row for each cell.

    ordered: whether the values of `by` have an order, which the colours then show.
    """

    x: str
    y: str
    by: str
    ordered: bool = False


@dataclass(frozen=True)
class Heatmap(FigureSpec):
    """Squares at `x` and `y`, coloured by `z`.

    text: a column to be written into the squares.
    centred: whether colours are of two kinds, above and below zero.
    contours: whether `x` and `y` are distances, to scale, and `z` is shown by its contours.
    points: dots to be marked on contours: `x`, `y`, name and text, and the facet if there is one.
    """

    x: str
    y: str
    z: str
    text: str = ""
    centred: bool = False
    contours: bool = False
    points: pd.DataFrame | None = None


@dataclass(frozen=True)
class Section:
    """A section of the report. Its caption is the docstring of the function that made it.

    facts: what the data says, the main fact first; the renderer makes a sentence of each.
    figures: what is drawn, side by side where there is room; without a row in its table a figure is left out.
    table: what a person reads; headings and formats are the catalogue's, by the columns' names. A value may be a
        `facts.Mean`, `facts.Interval` or `facts.Share`.
    file: the whole of the numbers, for the CSV file; by default the table.
    folded: whether the table opens on a click; without figures it is always open.
    notes: plain sentences, such as warnings; empty ones are left out.
    title: its heading, where that is not the registered one.
    """

    facts: tuple[Fact, ...]
    figures: tuple[FigureSpec, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    file: pd.DataFrame | None = None
    folded: bool = True
    notes: tuple[str, ...] = ()
    title: str = ""

    @property
    def numbers(self) -> pd.DataFrame:
        """The table of the CSV file."""
        return self.table if self.file is None else self.file

    @property
    def asked(self) -> bool:
        """Whether any of it was asked for; the page leaves a section out of which nothing was."""
        return not any(isinstance(fact, NotMeasured) and not fact.asked for fact in self.facts)


@dataclass(frozen=True)
class About:
    """The facts that a section states of itself.

    title: its heading; by default its name.
    after: the section that it is read right after; by default behind those that stand nowhere in particular.
    probe: the probe whose numbers it shows; the page leaves it out where no run has any.
    """

    title: str = ""
    after: str = ""
    probe: str = ""


Make = Callable[[Results], Section | NotMeasured | Figure]
"""A function that makes a section, or says why there is nothing to show; a drawn one is taken as it is."""

sections: Registry[Make, About] = Registry("section", About)
"""The report's sections: `@sections.register(title="Best round", after="effects")` over a function of `Results`."""
LAST = "methods"
"""The section that ends the report."""


def made(name: str, results: Results) -> Section | Figure:
    """A registered section of some results."""
    about = sections.facts(name)
    title = about.title or capital(name.replace("_", " "))
    unasked = about.probe and about.probe not in results.probes
    section = NotMeasured(title.lower(), asked=False) if unasked else sections.get(name)(results)
    if isinstance(section, NotMeasured):
        return Section((section,), title=title)
    return section if section.title else replace(section, title=title)


def in_order() -> list[str]:
    """The names of the sections in the order in which they are read.

    Raises:
        UsageError: a section is to come after one that does not exist, or after itself.
    """
    order = [name for name in _following("") if name != LAST]
    for name in sections.names():
        after = sections.facts(name).after
        if after and after not in sections:
            raise UsageError(f"section '{name}' is to come after '{after}'; {guess(after, sections.names())}")
        if name not in (*order, LAST):
            raise UsageError(f"section '{name}' is to come after '{after}', and that after '{name}'")
    return [*order, *([LAST] if LAST in sections else [])]


def _following(after: str) -> Iterator[str]:
    names = [name for name in sections.names() if sections.facts(name).after == after]
    # Whoever comes later to stand after a section stands right after it.
    for name in reversed(names) if after else names:
        yield name
        yield from _following(name)
