"""A forest plot: every comparison as a point with its intervals, and what it shows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cllora.analysis import Results, typed
from cllora.reports.chart import Chart, Settings, Trace
from cllora.reports.columns import column
from cllora.reports.figure import LegendEntry
from cllora.reports.say import SHOWS, pair
from cllora.reports.section import Forest
from cllora.reports.style import GRID, MUTED, SERIES, chart, hovering, in_rows, trace, with_room, zero_line

KEYS = {
    "differs": LegendEntry(SHOWS["differs"], SERIES[1], symbol="diamond"),
    "equivalent": LegendEntry(SHOWS["equivalent"], SERIES[2], symbol="square"),
    "undecided": LegendEntry(SHOWS["undecided"], MUTED, symbol="circle-open"),
}
MARGIN = LegendEntry("smaller than the margin", GRID)
CHANCE = LegendEntry("what one seed shows by chance", MUTED, dash="dash")
NUMBERS = ["difference", "low", "high", "low_holm", "high_holm", "margin", "chance"]
ENDS = ("difference", "low_holm", "high_holm", "margin", "chance")
CHANCE_LINE = {"color": MUTED, "width": 1.5, "dash": "dash"}


def forest_keys(spec: Forest, results: Results) -> Sequence[LegendEntry]:
    """The legend: what comparisons show, and the margin if there is one."""
    used = [key for shows, key in KEYS.items() if (spec.table["shows"] == shows).any()]
    margin = [MARGIN] if spec.table["margin"].notna().any() else []
    return [*used, *margin, *([CHANCE] if spec.table["chance"].notna().any() else [])]


def forest(spec: Forest, rows: pd.DataFrame, results: Results) -> Chart:
    """One row per comparison: thick its own interval, thin that of the level that Holm decides at.

    The rows' names end in the answer, where there are several, so that neither colour nor shape is needed to read it.
    """
    metric = column(rows["metric"].iloc[0])
    unit = f"<br>({metric.unit})" if metric.unit else ""
    figure = chart(f"difference to the control{unit}", "", hovermode="closest")
    hover = [pair(row).replace(": ", "<br>", 1).replace(" (", "<br>(", 1) for row in typed(rows)]
    rows = rows.assign(hover=hover, **{name: rows[name].astype(float) / metric.scale for name in NUMBERS})
    for place, margin in enumerate(rows["margin"]):
        if not np.isnan(margin):
            figure.shape(**_band(place, margin))
    chance = float(rows["chance"].iloc[0])
    for end in (-chance, chance) if np.isfinite(chance) else ():
        figure.shape(**_by_chance(end))
    zero_line(figure, "x")
    ends = rows.assign(below=-rows["margin"], less=-rows["chance"])[[*ENDS, "below", "less"]]
    figure.x_axis(range=with_room([0.0, *(x for x in ends.to_numpy(float).ravel() if np.isfinite(x))]))
    for shows, key in KEYS.items():
        figure.data += _points(rows[rows["shows"] == shows], key) if (rows["shows"] == shows).any() else []
    cells = rows["cell"].tolist()
    names = cells if len(results.axes) == 1 else [results.short(cell) for cell in cells]
    if rows["shows"].nunique() > 1:
        names = [f"{name}<br>{SHOWS[shows]}" for name, shows in zip(names, rows["shows"], strict=True)]
    in_rows(figure, cells, names)
    return figure


def _band(place: int, margin: float) -> Settings:
    """The band of differences smaller than the margin, over the height of one row."""
    ends = {"x0": -margin, "x1": margin, "y0": place - 0.5, "y1": place + 0.5}
    look = {"fillcolor": GRID, "opacity": 0.75, "line": {"width": 0}, "layer": "below"}
    return {"type": "rect", **look, **ends}


def _by_chance(end: float) -> Settings:
    """A line at an end of the differences that one seed shows by chance."""
    return {"type": "line", "x0": end, "x1": end, "y0": 0, "y1": 1, "yref": "y domain", "line": CHANCE_LINE}


def _points(rows: pd.DataFrame, key: LegendEntry) -> list[Trace]:
    """The comparisons of one answer: both whiskers, then the points."""
    look = {"color": key.colour, "dash": "solid", "symbol": key.symbol}
    drawn = []
    for low, high, width in (("low_holm", "high_holm", 1.5), ("low", "high", 5)):
        ends = rows[rows[low].notna()].sort_values("cell", kind="stable")
        x = np.column_stack([ends[low], ends[high], np.full(len(ends), np.nan)])  # a gap after each
        whiskers = pd.DataFrame({"x": x.ravel(), "cell": ends["cell"].repeat(3).to_numpy()})
        line = {"mode": "lines", "hoverinfo": "skip"}
        drawn.append(trace(whiskers, "x", "cell", key.name, look, line, width))
    points = trace(rows, "difference", "cell", key.name, look, hovering(rows["hover"]), size=13)
    points["marker"]["line"] = {"width": 2, "color": key.colour}
    return [*drawn, points]
