"""Lines: in each colour the single ones thin, their mean thick with a band, and marks where something went wrong."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cllora.analysis import Results
from cllora.reports.chart import Chart, Trace
from cllora.reports.columns import column
from cllora.reports.figure import LegendEntry
from cllora.reports.section import BASE, Lines
from cllora.reports.style import MUTED, Look, chart, hovering, styles, trace, zero_line
from cllora.reports.tables import groups

SHAPES = {
    "global oscillation": "triangle-up",
    "divergence": "x",
    "fairness collapse": "star",
    "early over-fitting": "triangle-down",
    "never learns": "square",
}
"""The symbol of each mark, drawn open; of another, a circle."""


def series(table: pd.DataFrame, by: str, results: Results, references: Sequence[str] = ()) -> dict[str, Look]:
    """The look of every value of `by`, in their order; of cells it is the same in all figures."""
    names = [str(name) for name in dict.fromkeys(table[by])]
    of_cells = set(names) <= {*results.cells, BASE}
    every = styles(results.cells, results.controls) if of_cells else styles([n for n in names if n != BASE], references)
    every[BASE] = {"color": MUTED, "dash": "dot", "symbol": "line-ew-open"}
    return {name: look for name, look in every.items() if name in names}


def lines(spec: Lines, rows: pd.DataFrame, results: Results) -> Chart:
    """One picture of `Lines`."""
    unified = spec.mean and bool(spec.units)
    labels = column(spec.x).label, column(spec.y).label
    figure = chart(*labels, height=340, hovermode="x unified" if unified else "closest")
    for name, look in series(spec.table, spec.by, results, spec.references).items():
        own = rows[rows[spec.by] == name].dropna(subset=[spec.y])
        figure.data += _traces(spec, own, name, look, results) if len(own) else []
    figure.data += _marks(spec, results)
    if spec.zero:
        zero_line(figure, "y")
    if spec.log:
        x, y = (np.log10(spec.table[name].agg(["min", "max"])).tolist() for name in (spec.x, spec.y))
        figure.x_axis(type="log", range=[x[0] - 0.15, x[1] + 0.3])
        figure.y_axis(type="log", range=[y[0] - 0.02, y[1] + 0.02], nticks=8, tickformat="~r")
    if spec.ticks:
        figure.x_axis(tickvals=list(spec.ticks), ticktext=[f"{tick:,g}" for tick in spec.ticks])
    return figure


def _traces(spec: Lines, rows: pd.DataFrame, name: str, look: Look, results: Results) -> Iterator[Trace]:
    """The band, the single lines and the mean of one colour; without units the line alone."""
    if not spec.units:
        yield _thick(spec, rows.assign(mean=rows[spec.y], spread=math.nan), name, look)
        return
    whole = _means(spec, results.counted(rows) if {"cell", "seed"} <= set(rows) else rows)
    banded = whole.dropna(subset=["spread"])
    if spec.mean and spec.band and len(banded):
        low, high = banded["mean"] - banded["spread"], banded["mean"] + banded["spread"]
        around = pd.DataFrame({"x": [*banded[spec.x], *banded[spec.x][::-1]], "y": [*high, *low[::-1]]})
        filled = {"fill": "toself", "fillcolor": look["color"], "opacity": 0.1, "hoverinfo": "skip", "mode": "lines"}
        yield trace(around, "x", "y", name, look, filled, width=0)
    if not spec.mean or _several(spec):
        for _, own in rows.groupby(list(spec.units), sort=False):
            yield _single(spec, own, name, look)
    if spec.mean:
        yield _thick(spec, whole, name, look)


def _several(spec: Lines) -> bool:
    return len(spec.table[list(spec.units)].drop_duplicates()) > 1


def _means(spec: Lines, rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over the units, at those x that all of them have: a mean over fewer would jump."""
    unit = rows.groupby(list(spec.units), sort=False).ngroup()
    sums = {"mean": (spec.y, "mean"), "spread": (spec.y, "std"), "units": ("unit", "nunique")}
    means = rows.assign(unit=unit).groupby(spec.x, as_index=False, sort=False).agg(**sums)
    return means[means["units"] == unit.nunique()]


def _single(spec: Lines, rows: pd.DataFrame, name: str, look: Look) -> Trace:
    units = ", ".join(f"{unit} {rows[unit].iloc[0]:.0f}" for unit in spec.units)
    thin = {"mode": "lines", "opacity": 0.35, "hoverinfo": "skip"}
    alone = {
        "mode": "lines+markers",
        "opacity": 0.65,
        "hovertemplate": "%{fullData.name}, %{x}: %{y:.3f}<extra></extra>",
    }
    how = {**(thin if spec.mean else alone), "meta": [name, _single_key(spec).name]}
    return trace(rows, spec.x, spec.y, f"{name}, {units}", look, how, width=1 if spec.mean else 1.5, size=4)


def _single_key(spec: Lines) -> LegendEntry:
    return LegendEntry(f"single {spec.units[-1]}s", MUTED, "thin")


def _thick(spec: Lines, rows: pd.DataFrame, name: str, look: Look) -> Trace:
    doubt = rows["spread"].notna().any()
    value = "%{y:.3f} ± %{customdata:.3f}" if doubt else "%{y:.3f}"
    where = "%{text}" if spec.text else "%{x}"
    hover = value if spec.units else f"{where}: {value}<extra>{name}</extra>"
    more = {"customdata": rows["spread"].tolist()} if doubt else {}
    more |= {"text": rows[spec.text].tolist()} if spec.text else {}
    return trace(rows, spec.x, "mean", name, look, {"mode": "lines+markers", "hovertemplate": hover, **more})


def _marks(spec: Lines, results: Results) -> Iterator[Trace]:
    if spec.marks is None:
        return
    for name, look in series(spec.table, spec.by, results, spec.references).items():
        for mark, rows in groups(spec.marks[spec.marks[spec.by] == name], "mark").items():
            how = {**hovering(rows["text"]), "meta": [name, mark]}
            shape = {**look, "symbol": _symbol(mark)}
            drawn = trace(rows, spec.x, spec.y, f"{mark}, {name}", shape, how, size=11)
            drawn["marker"]["line"] = {"width": 2}
            yield drawn


def _symbol(mark: str) -> str:
    return f"{SHAPES.get(mark, 'circle')}-open"


def lines_keys(spec: Lines, results: Results) -> Sequence[LegendEntry]:
    """The legend of `Lines`: its series, the single lines, and the marks that there are."""
    every = series(spec.table, spec.by, results, spec.references)
    single = [_single_key(spec)] if spec.units and (not spec.mean or _several(spec)) else []
    marks = [] if spec.marks is None else dict.fromkeys(map(str, spec.marks["mark"]))
    return [
        *(LegendEntry(name, look["color"], look["dash"]) for name, look in every.items()),
        *single,
        *(LegendEntry(mark, MUTED, symbol=_symbol(mark)) for mark in marks),
    ]
