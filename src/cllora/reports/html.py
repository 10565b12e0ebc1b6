"""The page, by a Jinja2 template: charts, legends whose keys show and hide, and tables that can be taken along."""

import base64
import functools
import gzip
import importlib.resources
import json

import jinja2
import pandas as pd
import plotly.offline
from markupsafe import Markup, escape
from plotly.io.json import to_json_plotly

from cllora.reports.chart import Settings
from cllora.reports.columns import cell, shown
from cllora.reports.figure import Figure
from cllora.reports.style import DARK

MOST_ROWS = 100
"""Rows of a table that the page shows; its CSV file has all."""
LONG = 24
"""Characters from which on a column is given room for words."""

DASHES = {"solid": "", "thin": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
SHAPES = {
    "circle": "M2 7A5 5 0 1 0 12 7 5 5 0 1 0 2 7Z",
    "diamond": "M7 1 13 7 7 13 1 7Z",
    "square": "M2 2H12V12H2Z",
    "triangle-up": "M7 2 13 12H1Z",
    "triangle-down": "M7 12 1 2H13Z",
    "x": "M3 1 7 5 11 1 13 3 9 7 13 11 11 13 7 9 3 13 1 11 5 7 1 3Z",
    "star": "M7 1 8.6 5.3 13 5.5 9.5 8.3 10.7 12.7 7 10.2 3.3 12.7 4.5 8.3 1 5.5 5.4 5.3Z",
}
"""Plotly's symbols, as far as legends use them; with `-open` they are outlines."""


def page(**parts: object) -> str:
    """The whole page by its template, which names the parts. Plotly's script is compressed: 2 MB in place of 5."""
    fixed = {"style": _asset("style.css"), "script": _asset("page.js"), "library": _library()}
    return _environment().get_template("page.html").render(**fixed, **parts)


@functools.cache
def _library() -> str:
    return pack(plotly.offline.get_plotlyjs())


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(text=text, as_text=as_text, long_columns=long_columns, toggled=toggled, chart=chart, pack=pack)
    made.globals.update(
        dark=DARK, dashes=DASHES, shapes=SHAPES, most_rows=MOST_ROWS, dark_json=Markup(json.dumps(DARK))
    )
    return made


def text(plain: str) -> Markup:
    """Text made safe to stand in the page, and held together where a line must not break."""
    for whole in (" = ", " %", " ±"):
        plain = plain.replace(whole, whole.replace(" ", "\u00a0"))
    return escape(plain)


def toggled(figure: Figure) -> set[str]:
    """The keys that show and hide something: a trace that names them, or goes by their name."""
    traces = [trace for plot in figure.plots for trace in plot.content()["data"]]
    return {name for trace in traces for name in (trace.get("meta") or [trace.get("name")])}


def chart(content: Settings) -> Markup:
    """A chart's data, to be drawn by the page's script. `<` is written so that no text can end the element."""
    return Markup(to_json_plotly(content).replace("<", "\\u003c"))


def long_columns(table: pd.DataFrame) -> set[int]:
    """The numbers of the columns of a table of text that need some width."""
    return {i for i, name in enumerate(table.columns) if table[name].map(len).max() > LONG}


def as_text(figure: Figure) -> pd.DataFrame:
    """A figure's table as a person reads it."""
    return shown(figure.table) if figure.shown is None else figure.shown.map(lambda value: cell(value, ""))


def pack(long: str) -> str:
    """Text compressed so that the page's script can unpack it: gzip in base64."""
    return base64.b64encode(gzip.compress(long.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return importlib.resources.files("cllora.reports").joinpath("assets", name).read_text(encoding="utf-8")
