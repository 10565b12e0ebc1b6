"""The report: one HTML page that opens anywhere, also without a network, and its tables as CSV files."""

import base64
import gzip
import importlib.resources
import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import plotly.offline

from cllora import store
from cllora.errors import UsageError
from cllora.reports.answer import Answer, answer
from cllora.reports.figure import Figure, Key, Plot, caption, figures
from cllora.reports.runs import Runs, read_runs
from cllora.reports.sections import in_order
from cllora.reports.style import DARK

MOST_ROWS = 100
"""Rows of a table that the page shows; its CSV file has all."""


def report(folder: Path, out: Path | None = None) -> Path:
    """Write the page, and `tables/*.csv` beside it, from any folder of runs; those under way are read as they stand.

    Args:
        folder: a study's folder, a single run's, or any folder with runs somewhere below it.
        out: the page's path, by default `report.html` in `folder`.

    Returns:
        The page's path.

    Raises:
        UsageError: there is no run with a finished round, or `out` does not name a page.
    """
    path = folder / "report.html" if out is None else out
    if path.suffix != ".html" or path.is_dir():
        raise UsageError(f"{path} is not a page's name; name the page, such as report.html")
    runs = read_runs(folder)
    made = {name: figures.get(name)(runs) for name in in_order()}
    tables = path.parent / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in {"runs": runs.outcomes, **{name: figure.table for name, figure in made.items()}}.items():
        if len(table):
            table.to_csv(tables / f"{name}.csv", index=False)
    html = page(runs, made)
    store.atomic_write(path, lambda partial: _write(partial, html))
    return path


def page(runs: Runs, made: dict[str, Figure]) -> str:
    """The whole page. Plotly's script lies in it compressed: 2 MB in place of 5."""
    library = base64.b64encode(gzip.compress(plotly.offline.get_plotlyjs().encode(), mtime=0)).decode()
    return Template(_asset("page.html")).substitute(
        title=_html(runs.name),
        style=_asset("style.css"),
        answer=_answer(answer(runs)),
        contents="".join(f'<li><a href="#{name}">{_html(figure.title)}</a></li>' for name, figure in made.items()),
        sections="\n".join(_section(name, figure) for name, figure in made.items()),
        dark=json.dumps(DARK),
        library=library,
        script=_asset("page.js"),
    )


def _answer(said: Answer) -> str:
    sentences = "".join(f"<p>{_html(sentence)}</p>" for sentence in said.sentences)
    numbers = "".join(f"<div><dt>{_html(what)}</dt><dd>{_html(value)}</dd></div>" for value, what in said.numbers)
    return f'<p class="question">{_html(said.question)}</p><div class="lead">{sentences}</div><dl>{numbers}</dl>'


def _section(name: str, figure: Figure) -> str:
    legend = "".join(f"<li>{_sample(key)}{_html(key.name)}</li>" for key in figure.legend)
    notes = "".join(f"<li>{_html(note)}</li>" for note in figure.notes)
    shown = figure.table if figure.shown is None else figure.shown
    parts = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{_html(figure.title)}</h2>',
        f'<p class="caption">{_html(caption(name))}</p>',
        f'<ul class="legend" aria-label="legend">{legend}</ul>' if legend else "",
        f'<div class="plots">{"".join(map(_plot, figure.plots))}</div>' if figure.plots else "",
        f'<p class="conclusion">{_html(figure.conclusion)}</p>',
        f'<ul class="notes">{notes}</ul>' if notes else "",
        _table(name, shown, folded=figure.folded and bool(figure.plots)) if len(shown) else "",
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _sample(key: Key) -> str:
    """A piece of the line, or a square, in the colour of the light or the dark page."""
    colour = f"light-dark({key.colour}, {DARK.get(key.colour, key.colour)})"
    if not key.dash:
        return (
            f'<svg width="13" height="13" aria-hidden="true"><rect width="13" height="13" style="fill:{colour}"/></svg>'
        )
    dashes = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}[key.dash]
    return (
        '<svg width="30" height="13" aria-hidden="true"><line x1="0" x2="30" y1="7" y2="7" stroke-width="2.5" '
        f'style="stroke:{colour}" stroke-dasharray="{dashes}"/></svg>'
    )


def _plot(plot: Plot) -> str:
    """A chart's data, to be drawn by the page's script. `<` is written so that no text can end the element."""
    data = plot.chart.to_json().replace("<", "\\u003c")
    title = f"<figcaption>{_html(plot.title)}</figcaption>" if plot.title else ""
    height = plot.chart.layout.height
    return (
        f'<figure>{title}<div class="plot" role="img" aria-label="{_html(plot.alt)}" style="min-height:{height}px">'
        f'</div><script type="application/json">{data}</script></figure>'
    )


def _table(name: str, table: pd.DataFrame, folded: bool) -> str:
    head = "".join(f'<th scope="col">{_html(str(column))}</th>' for column in table.columns)
    rows = "".join(_row(table.iloc[i]) for i in range(min(len(table), MOST_ROWS)))
    pairs = ' class="pairs"' if len(table.columns) == 2 else ""
    more = f"The first {MOST_ROWS} of {len(table):,} rows; all" if len(table) > MOST_ROWS else "Also"
    html = (
        f'<div class="table"><table{pairs}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="file">{more} in <code>tables/{name}.csv</code>.</p>'
    )
    return f"<details><summary>The numbers</summary>{html}</details>" if folded else html


def _row(row: "pd.Series[Any]") -> str:
    """A row; every cell carries its column's name, which a narrow screen shows beside it."""
    first, *others = row.items()
    cells = "".join(f'<td data-label="{_html(str(column))}">{_html(_text(value))}</td>' for column, value in others)
    return f'<tr><th scope="row">{_html(_text(first[1]))}</th>{cells}</tr>'


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}".replace("-", "−")
    return str(value)


def _html(text: str) -> str:
    """Text made safe to stand in the page, and held together where a line must not break."""
    safe = escape(text)
    for whole in (" = ", " %", " ±"):
        safe = safe.replace(whole, whole.replace(" ", "\u00a0"))
    return safe


def _asset(name: str) -> str:
    return importlib.resources.files("cllora.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
