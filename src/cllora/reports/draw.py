"""The five kinds of figure as charts: what a specification says, drawn."""

from collections.abc import Iterator, Sequence
from functools import singledispatch

import numpy as np
import pandas as pd
from plotly.colors import get_colorscale

from cllora.analysis import Results
from cllora.reports import alt
from cllora.reports.chart import Chart, Settings, Trace
from cllora.reports.columns import cell as text_of
from cllora.reports.columns import column
from cllora.reports.figure import LegendEntry, Plot
from cllora.reports.forest import forest, forest_keys
from cllora.reports.lines import lines, lines_keys, series
from cllora.reports.section import Bars, Dots, FigureSpec, Forest, Heatmap, Lines
from cllora.reports.style import (
    CLEAR,
    GRID,
    INK,
    PAPER,
    Look,
    chart,
    hovering,
    in_rows,
    ordered_colours,
    styles,
    trace,
    with_room,
    zero_line,
)
from cllora.reports.tables import groups

MOST_DOTS = 600
"""Dots of a colour that a chart shows; all are counted."""


def plots(spec: FigureSpec, results: Results) -> list[Plot]:
    """A specification's pictures, one for each value of its facet."""
    pictures = groups(spec.table, spec.facet) if spec.facet else {spec.title: spec.table}
    shown = list(pictures.items())[: spec.most or None]
    return [Plot(draw(spec, rows, results), alt.describe(spec, rows, name), name) for name, rows in shown]


def left_out(spec: FigureSpec) -> int:
    """The number of pictures that there is no room for."""
    return max(0, spec.table[spec.facet].nunique() - spec.most) if spec.facet and spec.most else 0


@singledispatch
def draw(spec: FigureSpec, rows: pd.DataFrame, results: Results) -> Chart:
    """One picture: those `rows` of a specification's table that it shows."""
    raise TypeError(f"{spec!r} is no figure")


@singledispatch
def keys(spec: FigureSpec, results: Results) -> Sequence[LegendEntry]:
    """The legend of a specification's pictures."""
    return ()


draw.register(Forest, forest)
draw.register(Lines, lines)
keys.register(Forest, forest_keys)
keys.register(Lines, lines_keys)


def _scaled(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows with one column in the unit that it is shown in."""
    scale = column(name).scale
    return rows if scale == 1 else rows.assign(**{name: rows[name] / scale})


@draw.register
def _(spec: Dots, rows: pd.DataFrame, results: Results) -> Chart:
    in_cells = spec.y == "cell"
    figure = chart(column(spec.x).label, results.axis_title if in_cells else column(spec.y).label)
    rows = _scaled(rows.assign(hover=_hover(spec, rows)), spec.x).dropna(subset=[spec.x])
    for row in groups(rows, spec.y).values() if spec.joined else ():
        line = {"mode": "lines", "line": {"color": GRID, "width": 4}, "hoverinfo": "skip"}
        figure.data.append({"type": "scatter", "x": row[spec.x].tolist(), "y": row[spec.y].tolist(), **line})
    for name, look in series(spec.table, spec.by, results).items():
        figure.data += _dots(spec, rows[rows[spec.by] == name], name, look)
    if spec.zero:
        zero_line(figure, "x")
    if in_cells:
        _cells_in_rows(figure, rows, results)
    if in_cells and not spec.log:
        figure.x_axis(range=with_room([*spec.table[spec.x].dropna(), *([0.0] if spec.zero else [])]))
    if spec.log:
        ticks = {"dtick": 1, "tickformat": ",~r", "exponentformat": "none"}
        figure.x_axis(type="log", showgrid=True, color=INK, **ticks)
    return figure


def _cells_in_rows(figure: Chart, rows: pd.DataFrame, results: Results) -> None:
    cells = [cell for cell in results.cells if cell in set(rows["cell"])]
    in_rows(figure, cells, [results.short(cell) for cell in cells])


def _hover(spec: Dots, rows: pd.DataFrame) -> list[str]:
    """`client 3, seed 1: +0.12`, for each dot; without units its name on the axis."""
    units = rows[list(spec.units or (spec.y,))].itertuples(index=False)
    names = [", ".join(f"{u} {v}" for u, v in zip(spec.units, row, strict=False)) or str(row[0]) for row in units]
    return [f"{name}: {text_of(float(x), spec.x)}" for name, x in zip(names, rows[spec.x], strict=True)]


def _dots(spec: Dots, rows: pd.DataFrame, name: str, look: Look) -> Iterator[Trace]:
    if spec.box:
        yield _boxed(spec, rows, name, look)
        return
    rows = rows.sort_values(spec.x, kind="stable")
    shown = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, MOST_DOTS).astype(int))] if len(rows) else rows
    many = spec.y != "cell"
    dots = trace(shown, spec.x, spec.y, name, look, hovering(shown["hover"]), size=5 if many else 13)
    dots["marker"]["opacity"] = 0.45 if many else 1
    yield dots
    if spec.trend:
        fifths = [rows.iloc[part] for part in np.array_split(np.arange(len(rows)), 5) if len(part) > 1]
        means = pd.DataFrame([part[[spec.x, spec.y]].mean() for part in fifths], columns=[spec.x, spec.y])
        line = {"meta": [name], "mode": "lines", "hoverinfo": "skip"}
        yield trace(means, spec.x, spec.y, f"{name}, means of fifths", look, line)


def _boxed(spec: Dots, rows: pd.DataFrame, name: str, look: Look) -> Trace:
    """The dots of one colour, with a box from quartile to quartile and the mean dashed.

    Plotly's whiskers end at the last dot that is no more than 1.5 times the box's length away from it.
    """
    places = {"x": rows[spec.x].tolist(), "y": rows[spec.y].tolist(), "text": rows["hover"].tolist()}
    boxes = {"orientation": "h", "boxpoints": "all", "jitter": 0.5, "pointpos": 0, "boxmean": True, "fillcolor": CLEAR}
    hover = {"hoveron": "points", "hovertemplate": "%{text}<extra></extra>"}
    marker = {"color": look["color"], "symbol": look["symbol"], "size": 5, "opacity": 0.55}
    line = {"color": look["color"], "width": 1.5}
    return {"type": "box", **places, **boxes, **hover, "name": name, "marker": marker, "line": line}


@keys.register
def _(spec: Dots, results: Results) -> Sequence[LegendEntry]:
    every = series(spec.table, spec.by, results).items() if spec.by != spec.y else ()
    dash, symbol = ("", "symbol") if spec.joined else ("dash", "")
    return [LegendEntry(name, look["color"], look.get(dash, ""), look.get(symbol, "")) for name, look in every]


@draw.register
def _(spec: Bars, rows: pd.DataFrame, results: Results) -> Chart:
    lying = spec.y == "cell"
    size, place = (spec.x, spec.y) if lying else (spec.y, spec.x)
    where, value = ("%{y}", "%{x}") if lying else (f"{column(place).title} %{{x}}", "%{y}")
    labels = column(spec.x).label, results.axis_title if lying else column(spec.y).label
    figure = chart(*labels, height=240, barmode="stack", bargap=0.2 if lying else 0.08)
    edge = {"color": PAPER, "width": 0.5 if rows[place].nunique() <= 60 and not lying else 0}
    for name, colour in _bar_colours(spec).items():
        own = _scaled(rows[rows[spec.by] == name], size)
        bars = {"x": own[spec.x].tolist(), "y": own[spec.y].tolist(), "orientation": "h" if lying else "v"}
        hover = f"{where}<br>{name}: {value}<extra></extra>"
        look = {"name": name, "marker": {"color": colour, "line": edge}, "hovertemplate": hover}
        figure.data.append({"type": "bar", **bars, **look})
    if lying:
        _cells_in_rows(figure, rows, results)
        return figure
    highest = spec.table.groupby([name for name in (spec.facet, place) if name])[size].sum().max()
    figure.x_axis(type="category", showticklabels=False)
    figure.y_axis(range=[0, highest * 1.02])
    return figure


def _bar_colours(spec: Bars) -> dict[str, str]:
    names = list(dict.fromkeys(spec.table[spec.by]))
    if spec.ordered:
        return dict(zip(names, ordered_colours(len(names)), strict=True))
    # The first colours are those of the dots that may stand beside.
    return {name: look["color"] for name, look in styles(["dots", "others", *names], ()).items() if name in names}


@keys.register
def _(spec: Bars, results: Results) -> Sequence[LegendEntry]:
    return [LegendEntry(name, colour) for name, colour in _bar_colours(spec).items()]


@draw.register
def _(spec: Heatmap, rows: pd.DataFrame, results: Results) -> Chart:
    grid = rows.pivot(index=spec.y, columns=spec.x, values=spec.z)
    x, y = column(spec.x).title, column(spec.y).title
    z = [[None if np.isnan(z) else z for z in row] for row in grid.to_numpy(float)]
    if spec.contours:
        figure = chart(x, y, height=420)
        places = {"x": grid.columns.tolist(), "y": grid.index.tolist(), "z": z, "ncontours": 16, "line": {"width": 0.5}}
        hover = "%{x:.3g}, %{y:.3g}: %{z:+.4f}<extra></extra>"
        figure.data.append({"type": "contour", **places, **_colours(spec), "hovertemplate": hover})
        figure.data += [] if spec.points is None else [_points(spec.points, rows, spec.facet)]
        figure.y_axis(scaleanchor="x", showgrid=False, constrain="domain")
        figure.x_axis(constrain="domain")
        return figure
    figure = chart(x, y, height=max(240, 110 + (40 if spec.text else 18) * len(grid)))
    written, text = {}, ""
    if spec.text:
        squares = rows.pivot(index=spec.y, columns=spec.x, values=spec.text)
        written, text = {"text": squares.to_numpy().tolist(), "texttemplate": "%{text}"}, "%{text}, "
    hover = f"{y} %{{y}}, {x} %{{x}}: {text}%{{z:.4g}}<extra></extra>"
    places = {"x": [text_of(x, spec.x) for x in grid.columns], "y": [text_of(y, spec.y) for y in grid.index], "z": z}
    figure.data.append({"type": "heatmap", **places, **written, **_colours(spec), "hovertemplate": hover})
    figure.x_axis(type="category", dtick=max(1, grid.shape[1] // 8))
    figure.y_axis(type="category", dtick=max(1, len(grid) // 8), showgrid=False)
    return figure


def _colours(spec: Heatmap) -> Settings:
    """The colours of `z`: the same in all pictures of a specification, but for contours, which have each their own."""
    bar = {"title": {"text": column(spec.z).title, "side": "right", "font": {"size": 12}}, "thickness": 12}
    signed = {**bar, "tickformat": "+.2~g"}
    if spec.contours:
        return {"colorscale": get_colorscale("Viridis"), "colorbar": signed}
    most = float(spec.table[spec.z].abs().max())
    if spec.centred:
        return {"zmin": -most, "zmax": most, "colorscale": get_colorscale("RdBu"), "colorbar": signed}
    return {"zmin": 0, "zmax": most, "colorscale": get_colorscale("Viridis_r"), "colorbar": bar}


def _points(points: pd.DataFrame, rows: pd.DataFrame, facet: str) -> Trace:
    own = points[points[facet] == rows[facet].iloc[0]] if facet else points
    marker = {"color": PAPER, "line": {"color": INK, "width": 1.5}, "size": 9}
    font = {"color": "white", "shadow": "0 0 3px black, 0 0 2px black"}
    places = {"x": own["x"].tolist(), "y": own["y"].tolist(), "text": own["name"].tolist(), "mode": "markers+text"}
    hover = {"customdata": own["text"].tolist(), "hovertemplate": "%{text}: %{customdata}<extra></extra>"}
    return {"type": "scatter", **places, **hover, "textposition": "top center", "textfont": font, "marker": marker}
