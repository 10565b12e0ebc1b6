"""How charts look: one palette that holds up for colour-blind eyes, in the light and in the dark."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from cllora.reports.figure import Key

INK, MUTED, GRID, PAPER = "#1b2430", "#5b6775", "#dde2e8", "#ffffff"
SERIES = ("#0067a5", "#c8500a", "#00876a", "#9c3f86", "#8a6d00", "#5a6ea8")
"""Okabe and Ito's hues, darkened until each has 4:1 or more on white."""

DARK = {
    INK: "#e8ecf1",
    MUTED: "#a3afbd",
    GRID: "#303946",
    PAPER: "#151a21",
    "#0067a5": "#5cb1f0",
    "#c8500a": "#ff9a5c",
    "#00876a": "#3ccba4",
    "#9c3f86": "#e48fd0",
    "#8a6d00": "#e3c44a",
    "#5a6ea8": "#9fb0ea",
}
"""What each colour becomes on a dark page; the page exchanges them in the finished charts."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot")


def looks(cells: Sequence[str], controls: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, dash and symbol of every cell; a control is in ink, as what the eye compares with."""
    others = [cell for cell in cells if cell not in controls]
    found: dict[str, dict[str, Any]] = {}
    for i, cell in enumerate(others):
        turn = i // len(SERIES)
        found[cell] = {
            "color": SERIES[i % len(SERIES)],
            "dash": DASHES[turn % len(DASHES)],
            "symbol": SYMBOLS[i % len(SYMBOLS)],
        }
    for i, cell in enumerate(controls):
        found[cell] = {"color": INK, "dash": DASHES[(i + 1) % len(DASHES)], "symbol": SYMBOLS[i % len(SYMBOLS)]}
    return found


def class_colours(classes: int) -> list[str]:
    """Colours for classes in their order, from dark to light (viridis)."""
    steps = [0.12 + 0.8 * c / max(1, classes - 1) for c in range(classes)]
    colours: list[str] = sample_colorscale("Viridis", steps)
    return colours


def chart(x: str, y: str, height: int = 380, **layout: Any) -> go.Figure:
    """An empty chart with its axes' titles; everything else about its looks is set here, once."""
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12}},
        "fixedrange": True,
    }
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"bgcolor": PAPER, "bordercolor": GRID, "font": {"color": INK, "size": 12}},
        dragmode=False,
        xaxis={**axis, "showgrid": False},
        yaxis=axis,
    )
    figure.update_layout(**layout)
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    return figure


ZERO_LINE = {"color": MUTED, "width": 1, "dash": "dot"}


def keys(looks: Mapping[str, Mapping[str, Any]]) -> tuple[Key, ...]:
    """The legend of lines drawn in these looks."""
    return tuple(Key(name, look["color"], look["dash"]) for name, look in looks.items())


def strip(figure: go.Figure, cell: str, look: Mapping[str, Any], values: Sequence[float], hover: Sequence[str]) -> None:
    """Every value as a dot in its cell's row, with a box from quartile to quartile and the mean dashed.

    Plotly's whiskers end at the last dot that is no more than 1.5 times the box's length away from it.
    """
    figure.add_trace(
        go.Box(
            x=values,
            y=[cell] * len(values),
            orientation="h",
            name=cell,
            text=hover,
            hovertemplate="%{text}<extra></extra>",
            hoveron="points",
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            boxmean=True,
            marker={"color": look["color"], "symbol": look["symbol"], "size": 5, "opacity": 0.55},
            line={"color": look["color"], "width": 1.5},
            fillcolor="rgba(0,0,0,0)",
        )
    )


def rows_of_cells(figure: go.Figure, cells: Sequence[str], names: Sequence[str]) -> None:
    """Give every cell its row, the first on top, under a short name: there is room for any number on any screen."""
    ticks = [name.replace(", ", ",<br>") for name in names]
    lines = max(tick.count("<br>") + 1 for tick in ticks)
    figure.update_layout(height=110 + max(46, 14 + 17 * lines) * len(cells))
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(cells),
        autorange="reversed",
        tickvals=list(cells),
        ticktext=ticks,
        showgrid=False,
    )
    figure.update_xaxes(showgrid=True)
