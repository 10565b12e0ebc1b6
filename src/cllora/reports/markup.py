"""The parts of the page as HTML: charts, legends whose keys show and hide, and tables that can be taken along."""

import base64
import gzip
from collections.abc import Collection, Hashable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from cllora.reports.figure import Figure, Key, Plot
from cllora.reports.style import DARK

MOST_ROWS = 100
"""Rows of a table that the page shows; its CSV file has all."""
LONG = 24
"""Characters from which on a column is given room for words."""

DASHES = {"solid": "", "thin": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
SHAPES = {
    "circle": '<circle cx="7" cy="7" r="5"/>',
    "diamond": '<path d="M7 1 13 7 7 13 1 7Z"/>',
    "square": '<path d="M2 2H12V12H2Z"/>',
    "triangle-up": '<path d="M7 2 13 12H1Z"/>',
    "triangle-down": '<path d="M7 12 1 2H13Z"/>',
    "x": '<path d="M3 1 7 5 11 1 13 3 9 7 13 11 11 13 7 9 3 13 1 11 5 7 1 3Z"/>',
    "star": '<path d="M7 1 8.6 5.3 13 5.5 9.5 8.3 10.7 12.7 7 10.2 3.3 12.7 4.5 8.3 1 5.5 5.4 5.3Z"/>',
}
"""Plotly's symbols, as far as legends use them; with `-open` they are outlines."""


def legend(figure: Figure) -> str:
    """The keys of a section: a button for each that shows and hides something, the others as plain text."""
    named = {name for each in figure.plots for trace in each.chart.data for name in _keys_of(trace)}
    items = "".join(f"<li>{_key(key, key.name in named)}</li>" for key in figure.legend)
    return f'<ul class="legend" aria-label="legend">{items}</ul>' if items else ""


def _keys_of(trace: Any) -> Sequence[str]:
    return list(trace.meta) if trace.meta else [trace.name]


def _key(key: Key, toggles: bool) -> str:
    inner = f"{_sample(key)}{text(key.name)}"
    if not toggles:
        return f"<span>{inner}</span>"
    return (
        f'<button type="button" class="key" aria-pressed="true" data-key="{escape(key.name)}" '
        f'title="Show or hide">{inner}</button>'
    )


def _sample(key: Key) -> str:
    """A piece of the line, the symbol, or a square, in the colour of the light or the dark page."""
    colour = f"light-dark({key.colour}, {DARK.get(key.colour, key.colour)})"
    if key.symbol:
        shape = SHAPES[key.symbol.removesuffix("-open")]
        fill = "none" if key.symbol.endswith("-open") else colour
        return (
            f'<svg width="14" height="14" aria-hidden="true" style="fill:{fill};stroke:{colour};stroke-width:1.5">'
            f"{shape}</svg>"
        )
    if not key.dash:
        return (
            f'<svg width="13" height="13" aria-hidden="true"><rect width="13" height="13" style="fill:{colour}"/></svg>'
        )
    width = 1 if key.dash == "thin" else 2.5
    return (
        f'<svg width="30" height="13" aria-hidden="true"><line x1="0" x2="30" y1="7" y2="7" stroke-width="{width}" '
        f'style="stroke:{colour}" stroke-dasharray="{DASHES[key.dash]}"/></svg>'
    )


def plot(drawn: Plot) -> str:
    """A chart's data, to be drawn by the page's script. `<` is written so that no text can end the element."""
    data = drawn.chart.to_json().replace("<", "\\u003c")
    title = f"<figcaption>{text(drawn.title)}</figcaption>" if drawn.title else ""
    height = drawn.chart.layout.height
    return (
        f'<figure>{title}<div class="plot" role="img" aria-label="{text(drawn.alt)}" style="min-height:{height}px">'
        f'</div><script type="application/json">{data}</script></figure>'
    )


def table(name: str, figure: Figure) -> str:
    """The table as a person reads it, with a button that saves the whole of it as numbers: the CSV file."""
    shown = figure.table if figure.shown is None else figure.shown
    if not len(shown):
        return ""
    head = "".join(f'<th scope="col">{text(str(column))}</th>' for column in shown.columns)
    long = {column for column in shown.columns if shown[column].map(cell).str.len().max() > LONG}
    rows = "".join(_row(shown.iloc[i], long) for i in range(min(len(shown), MOST_ROWS)))
    pairs = ' class="pairs"' if len(shown.columns) == 2 else ""
    more = f"The first {MOST_ROWS} of {len(shown):,} rows. All" if len(shown) > MOST_ROWS else "The numbers"
    html = (
        f'<div class="table" tabindex="0" role="region" aria-label="Table: {text(figure.title)}">'
        f"<table{pairs}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    file = (
        f'<p class="file"><button type="button" class="csv" data-name="{name}.csv">Download CSV</button> '
        f"{more} in full precision, also in <code>tables/{name}.csv</code>.</p>"
        f'<script type="text/plain" class="packed">{pack(figure.table.to_csv(index=False))}</script>'
    )
    if figure.folded and figure.plots:
        html = f"<details><summary>The numbers as a table</summary>{html}</details>"
    return f"{html}{file}"


def _row(row: "pd.Series[Any]", long: Collection[Hashable]) -> str:
    """A row; every cell carries its column's name, which a narrow screen shows beside it. Sentences get some width."""
    first, *others = row.items()
    cells = "".join(
        f'<td data-label="{text(str(column))}"{" class=long" if column in long else ""}>{text(cell(value))}</td>'
        for column, value in others
    )
    return f'<tr><th scope="row">{text(cell(first[1]))}</th>{cells}</tr>'


def cell(value: object) -> str:
    """A value as the tables show it: a number with four digits, a dash for what was not measured."""
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}".replace("-", "−")
    return str(value)


def text(plain: str) -> str:
    """Text made safe to stand in the page, and held together where a line must not break."""
    safe = escape(plain)
    for whole in (" = ", " %", " ±"):
        safe = safe.replace(whole, whole.replace(" ", "\u00a0"))
    return safe


def pack(long: str) -> str:
    """Text compressed so that the page's script can unpack it: gzip in base64."""
    return base64.b64encode(gzip.compress(long.encode(), mtime=0)).decode()
