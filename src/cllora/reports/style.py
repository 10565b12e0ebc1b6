"""The looks of charts: one palette that holds up for colour-blind eyes, in the light and in the dark."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from plotly.colors import sample_colorscale

from cllora.reports.chart import Chart, Settings, Trace

INK, MUTED, GRID, PAPER, CLEAR = "#1b2430", "#5b6775", "#dde2e8", "#ffffff", "rgba(0,0,0,0)"
SERIES = ("#0067a5", "#c8500a", "#00876a", "#9c3f86", "#8a6d00", "#5a6ea8")
"""Okabe and Ito's hues, darkened until each has 4:1 or more on white."""

DARK_SERIES = ("#5cb1f0", "#ff9a5c", "#3ccba4", "#e48fd0", "#e3c44a", "#9fb0ea")
DARK = {
    INK: "#e8ecf1",
    MUTED: "#a3afbd",
    GRID: "#303946",
    PAPER: "#151a21",
    **dict(zip(SERIES, DARK_SERIES, strict=True)),
}
"""The colours of a dark page by those of a light one; the page exchanges them in the finished charts."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
WIDEST_TICK = 26
"""Characters in a line of a row's name."""
ZERO_LINE = {"color": MUTED, "width": 1, "dash": "dot"}

Look = Mapping[str, str]
"""The colour, dash and symbol of a series."""


def styles(names: Sequence[str], references: Sequence[str]) -> dict[str, Look]:
    """The look of every series; a reference is in ink, as what the eye compares with."""
    others = [name for name in names if name not in references]
    drawn = [(name, SERIES[i % len(SERIES)], i // len(SERIES), i) for i, name in enumerate(others)]
    drawn += [(name, INK, i + 1, i) for i, name in enumerate(references)]
    return {
        name: {"color": colour, "dash": DASHES[dash % len(DASHES)], "symbol": SYMBOLS[i % len(SYMBOLS)]}
        for name, colour, dash, i in drawn
    }


def ordered_colours(many: int) -> list[str]:
    """Colours for things in their order, from dark to light (viridis)."""
    colours: list[str] = sample_colorscale("Viridis", [0.12 + 0.8 * i / max(1, many - 1) for i in range(many)])
    return colours


def chart(x: str, y: str, height: int = 380, **layout: object) -> Chart:
    """An empty chart with its axes' titles; everything else about its looks is set here, once."""
    title = {"standoff": 8, "font": {"size": 12}}
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "fixedrange": True}
    return Chart(
        {
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "showlegend": False,
            "hoverlabel": {"bgcolor": PAPER, "bordercolor": GRID, "font": {"color": INK, "size": 12}},
            "dragmode": False,
            "xaxis": {**axis, "title": {**title, "text": x}, "showgrid": False},
            "yaxis": {**axis, "title": {**title, "text": y}},
            **layout,
        }
    )


def trace(
    rows: pd.DataFrame,
    x: str,
    y: str,
    name: str,
    look: Look,
    how: Settings,
    width: float = 2.5,
    size: float = 6,
) -> Trace:
    """Points of a table in a series' look, joined by a line of some width, marked in some size, or both (`mode`).

    The legend's key of the series' name shows and hides them, unless `meta` names others.
    """
    line = {"color": look["color"], "dash": look["dash"], "width": width}
    marker = {"color": look["color"], "symbol": look["symbol"], "size": size}
    places = {"x": rows[x].tolist(), "y": rows[y].tolist(), "name": name, "meta": [name]}
    return {"type": "scatter", **places, "line": line, "marker": marker, **how}


def hovering(texts: Iterable[str]) -> Settings:
    """Points that tell a text of their own to whom points at them."""
    return {"mode": "markers", "text": list(texts), "hovertemplate": "%{text}<extra></extra>"}


def zero_line(figure: Chart, axis: str) -> None:
    """A dotted line where an axis, `x` or `y`, is zero, across the whole chart."""
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": 0, f"{axis}1": 0, f"{other}0": 0, f"{other}1": 1}
    figure.shape(type="line", **ends, **{f"{axis}ref": axis, f"{other}ref": f"{other} domain"}, line=ZERO_LINE)


def in_rows(figure: Chart, rows: Sequence[str], names: Sequence[str]) -> None:
    """Give every row its place, the first on top, under a short name: there is room for any number on any screen."""
    ticks = [_tick(name) for name in names]
    lines = max(tick.count("<br>") + 1 for tick in ticks)
    order = {"type": "category", "categoryorder": "array", "categoryarray": list(rows), "autorange": "reversed"}
    figure.layout["height"] = 110 + max(46, 14 + 17 * lines) * len(rows)
    figure.y_axis(**order, tickvals=list(rows), ticktext=ticks, showgrid=False)
    figure.x_axis(showgrid=True)


def _tick(name: str) -> str:
    """A name as lines: as many of its parts in each as there is room for."""
    lines: list[str] = []
    for part in name.replace(", ", ",\0").split("\0"):
        if lines and len(lines[-1].rpartition("<br>")[2]) + len(part.partition("<br>")[0]) < WIDEST_TICK:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return "<br>".join(lines)


def with_room(values: Sequence[float]) -> list[float]:
    """A range from the lowest to the highest, and some room."""
    room = 0.06 * (max(values) - min(values)) or 1.0
    return [min(values) - room, max(values) + room]
