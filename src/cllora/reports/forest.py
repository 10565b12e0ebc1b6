"""A forest plot: every comparison as a point with its doubt, and what it shows."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Key, Plot
from cllora.reports.runs import Runs
from cllora.reports.style import GRID, MUTED, SERIES, ZERO_LINE, chart, rows_of_cells

ANSWERS = {
    "differs": Key("differs", SERIES[1], symbol="diamond"),
    "equivalent": Key("equivalent", SERIES[2], symbol="square"),
    "undecided": Key("not enough seeds to tell", MUTED, symbol="circle-open"),
}
MARGIN_KEY = Key("smaller than the margin", GRID)


def judged(runs: Runs, outcome: str) -> pd.DataFrame:
    """All comparisons of one outcome that have pairs: `Runs.contrasts`."""
    return runs.contrasts(outcome).dropna(subset=["difference"])


def keys(found: pd.DataFrame) -> tuple[Key, ...]:
    """The legend of what `judged` found: the answers that there are, and the margin if there is one."""
    used = [key for verdict, key in ANSWERS.items() if (found["shows"] == verdict).any()]
    return (*used, MARGIN_KEY) if found["margin"].notna().any() else tuple(used)


def forest(runs: Runs, found: pd.DataFrame, subject: str, unit: str) -> Plot:
    """One row per comparison of `judged`: thick its own 95 % interval, thin that of the level that Holm decides at.

    The rows' names end in the answer, where there are several, so that neither colour nor shape is needed to read it.
    """
    figure = chart(f"difference to the control<br>({unit})", "", hovermode="closest")
    margin = float(found["margin"].iloc[0])
    if not math.isnan(margin):
        figure.add_vrect(x0=-margin, x1=margin, fillcolor=GRID, opacity=0.75, line_width=0, layer="below")
    figure.add_vline(x=0, line=ZERO_LINE)
    figure.update_xaxes(range=_range(found, margin))
    for verdict, key in ANSWERS.items():
        rows = found[found["shows"] == verdict]
        if len(rows):
            figure.add_trace(_whiskers(rows, "low_holm", "high_holm", key, 1.5))
            figure.add_trace(_whiskers(rows, "low", "high", key, 5))
            figure.add_trace(_points(rows, key))
    cells = [str(cell) for cell in found["cell"]]
    named = {cell: cell if len(runs.axes) == 1 else runs.short(cell) for cell in cells}
    several = found["shows"].nunique() > 1
    names = [f"{named[c]}<br>{ANSWERS[v].name}" if several else named[c] for c, v in _named(found)]
    rows_of_cells(figure, cells, names)
    said = "; ".join(_said(row) for _, row in found.iterrows())
    return Plot(figure, f"{subject}, difference to the control in {unit}. {said}.", words.capital(subject))


def _range(found: pd.DataFrame, margin: float) -> list[float]:
    """From the lowest to the highest of all that is drawn, and some room."""
    ends = found[["difference", "low_holm", "high_holm"]].to_numpy(float).ravel().tolist()
    ends = [0.0, *(end for end in (*ends, -margin, margin) if math.isfinite(end))]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    return [min(ends) - room, max(ends) + room]


def _named(found: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(cell), str(verdict)) for cell, verdict in zip(found["cell"], found["shows"], strict=True)]


def _whiskers(rows: pd.DataFrame, low: str, high: str, key: Key, width: float) -> go.Scatter:
    known = rows.dropna(subset=[low, high])
    return go.Scatter(
        x=[end for a, b in zip(known[low], known[high], strict=True) for end in (a, b, None)],
        y=[row for cell in known["cell"] for row in (cell, cell, None)],
        name=key.name,
        meta=[key.name],
        mode="lines",
        line={"color": key.colour, "width": width},
        hoverinfo="skip",
    )


def _points(rows: pd.DataFrame, key: Key) -> go.Scatter:
    return go.Scatter(
        x=rows["difference"].tolist(),
        y=rows["cell"].tolist(),
        name=key.name,
        meta=[key.name],
        mode="markers",
        marker={"color": key.colour, "symbol": key.symbol, "size": 13, "line": {"width": 2, "color": key.colour}},
        text=[_said(row).replace(": ", "<br>", 1).replace(" (", "<br>(", 1) for _, row in rows.iterrows()],
        hovertemplate="%{text}<extra></extra>",
    )


def _said(row: "pd.Series[Any]") -> str:
    doubt = "one seed: no interval"
    if row["seeds"] > 1:
        ends = " to ".join(words.signed(row[end]) for end in ("low", "high"))
        doubt = f"95 % interval {ends}, {words.count(int(row['seeds']), 'seed')}"
    return f"{row['cell']} against {row['against']}: {words.signed(row['difference'])} ({doubt}), {row['answer']}"
