"""A figure: one section of the report, made by one registered function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go

from cllora.registry import Registry
from cllora.reports.runs import Runs


@dataclass(frozen=True)
class Plot:
    """A chart, and in words what there is to see on it (read out in its place); a title if it is one of several."""

    chart: go.Figure
    alt: str
    title: str = ""


@dataclass(frozen=True)
class Key:
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
    """A section of the report. Its caption is the docstring of the function that made it.

    conclusion: one sentence computed from the data. It names a direction only where the data has one.
    plots: charts, side by side where there is room.
    legend: what the plots share; it stands above them, where it has room on any screen.
    table: the numbers, written as a CSV file.
    shown: the table as the page has it, where a person reads it better than the numbers as they are.
    folded: whether the table below the charts opens on a click; without charts it is always open.
    notes: plain sentences, such as warnings.
    measured: False where nothing of it was asked for; the page leaves it out.
    """

    title: str
    conclusion: str
    plots: tuple[Plot, ...] = ()
    legend: tuple[Key, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    shown: pd.DataFrame | None = None
    folded: bool = True
    notes: tuple[str, ...] = ()
    measured: bool = True


figures: Registry[Callable[[Runs], Figure]] = Registry("figure")
"""The report's sections, in order. A figure is `@figures.register() def name(runs: Runs) -> Figure`."""


def caption(name: str) -> str:
    """The docstring of a figure, its lines joined."""
    return " ".join((inspect.getdoc(figures.get(name)) or "").split())
