"""Alternative texts: a picture in words, for those who do not see it."""

from functools import singledispatch

import pandas as pd

from cllora.analysis import typed
from cllora.metrics.formats import capital, ends, percent
from cllora.reports.columns import column
from cllora.reports.say import pair, places
from cllora.reports.section import Bars, Dots, FigureSpec, Forest, Heatmap, Lines
from cllora.reports.tables import means


def describe(spec: FigureSpec, rows: pd.DataFrame, name: str) -> str:
    """The alternative text of a picture of that name."""
    return f"{capital(name)}: {_words(spec, rows)}" if name else capital(_words(spec, rows))


@singledispatch
def _words(spec: FigureSpec, rows: pd.DataFrame) -> str:
    raise TypeError(f"{spec!r} is no figure")


@_words.register
def _(spec: Forest, rows: pd.DataFrame) -> str:
    metric = column(rows["metric"].iloc[0])
    every = "; ".join(pair(row) for row in typed(rows))
    return f"{metric.title}, difference to the control{f' in {metric.unit}' if metric.unit else ''}. {every}."


@_words.register
def _(spec: Lines, rows: pd.DataFrame) -> str:
    ends = rows.dropna(subset=[spec.y]).groupby([spec.by, *spec.units], sort=False).tail(1)
    values = places(means(ends, spec.y, spec.by), spec.y) or "nothing was measured"
    marked = f"; {len(spec.marks)} marks" if spec.marks is not None and len(spec.marks) else ""
    return f"lines of the {column(spec.y).title} by {column(spec.x).title}. At the end: {values}{marked}."


@_words.register
def _(spec: Dots, rows: pd.DataFrame) -> str:
    value, other = (spec.x, "") if spec.y == "cell" else (spec.y, f" against {column(spec.x).title}")
    names = rows[spec.by] if spec.by == spec.y or other else rows[spec.by] + ", " + rows[spec.y]
    values = places(means(rows.assign(at=names), value, "at"), value)
    return f"dots of the {column(value).title}{other}. Means: {values}."


@_words.register
def _(spec: Bars, rows: pd.DataFrame) -> str:
    size, place = (spec.x, spec.y) if spec.y == "cell" else (spec.y, spec.x)
    sums, most = rows.groupby(place)[size].sum(), rows.groupby(place)[size].max()
    share, sizes = percent((most / sums.clip(lower=1e-9)).mean()), ends(sums, column(size).show)
    return (
        f"bars of {len(sums):,} {column(place).title}s with {sizes} {column(size).title}, stacked by {spec.by}; "
        f"on average {share} of a bar are of one {spec.by}."
    )


@_words.register
def _(spec: Heatmap, rows: pd.DataFrame) -> str:
    if spec.points is not None:
        own = spec.points[spec.points[spec.facet] == rows[spec.facet].iloc[0]] if spec.facet else spec.points
        marked = ", ".join(f"{text} at {name}" for name, text in zip(own["name"], own["text"], strict=True))
        return f"contours of the {column(spec.z).title}. Marked: {marked}."
    measured, (x, y, z) = rows.dropna(subset=[spec.z]), (column(name) for name in (spec.x, spec.y, spec.z))
    extremes = (measured.iloc[int(at)] for at in (measured[spec.z].argmin(), measured[spec.z].argmax()))
    values = " to ".join(
        f"{z.show(row[spec.z])} at {x.title} {row[spec.x]:g}, {y.title} {row[spec.y]:g}" for row in extremes
    )
    return f"heat map of the {z.title} by {y.title} and {x.title}, from {values}."
