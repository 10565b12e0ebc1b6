"""A section as it is shown: charts, a legend, sentences and a table of text. Renderers write it as HTML or LaTeX."""

from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go

from cllora.reports.chart import Chart, MadeWhenRead, Settings


@dataclass(frozen=True)
class Plot:
    """A chart, and in words what there is to see on it (read out in its place); a title if it is one of several."""

    chart: "go.Figure" = field(repr=False)
    alt: str
    title: str = ""

    def content(self) -> Settings:
        """The traces as `data`, and the `layout`, as Plotly's script draws them."""
        held = vars(self)["chart"]
        content: Settings = held.content() if isinstance(held, Chart) else held.to_dict()
        return content


# Here and not in the class, where a dataclass would take it for a default. A `Chart` is taken for a figure too.
Plot.chart = MadeWhenRead()


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a legend: a line in its dash, or a mark in its symbol (both of Plotly's names), or else a square.

    It shows and hides the traces of its section that name it in their `meta`, or without any go by its name; a trace
    of several keys is seen while all of them are on.
    """

    name: str
    colour: str
    dash: str = ""
    symbol: str = ""


@dataclass(frozen=True)
class Figure:
    """A section as it is shown. Its caption is the docstring of the function that made it.

    conclusion: what the data says, in sentences.
    plots: charts, side by side where there is room.
    legend: what the plots share; it stands above them, where it has room on any screen.
    table: the numbers, written as a CSV file.
    shown: the table as the page has it, where a person reads it better than the numbers as they are.
    folded: whether the table below the charts opens on a click; without charts it is always open.
    notes: plain sentences, such as warnings.
    measured: False where nothing of it was asked for; the page leaves it out.
    has_data: False where nothing is known of it; the page names it at the end, with the reason.
    """

    title: str
    conclusion: str
    plots: tuple[Plot, ...] = ()
    legend: tuple[LegendEntry, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    shown: pd.DataFrame | None = None
    folded: bool = True
    notes: tuple[str, ...] = ()
    measured: bool = True
    has_data: bool = True
