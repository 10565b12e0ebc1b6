"""Why skew does what it does: do clients with other texts pull another way, and what does averaging lose?"""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cllora.metrics.update_geometry import by_round, correlation, disagreements
from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import chart, keys, looks
from cllora.stats import Correlation

MOST_DOTS = 600
"""Dots of a cell that the chart shows; all are counted."""


@figures.register()
def mechanism(runs: Runs) -> Figure:
    """First, two clients that trained in the same round, one dot a pair: how unlike their mixes of classes are
    (Jensen-Shannon divergence, 0 the same, 1 nothing in common) and how much their updates disagree (one minus their
    cosine: 0 the same direction, 1 unrelated, 2 opposite); lines go through the means of fifths of the pairs. Then the
    error of averaging LoRA's A and B apart, as a share of the mean change of their product: at 0.1, a tenth of what the
    clients learned together is lost or distorted in joining. Spearman's rho has an interval over clients."""
    kept = runs.measured("update_geometry")
    if not kept:
        return Figure("How clients' updates relate", "Nothing was recorded of how the clients' updates relate.")
    curve = runs.counted(runs.stacked((run, by_round(table)) for run, table in kept))
    pairs = runs.counted(runs.stacked((run, disagreements(table, run.partition)) for run, table in kept))
    found = {cell: correlation(pairs[pairs["cell"] == cell].rename(columns={"seed": "run"})) for cell in runs.cells}
    known = pairs.dropna(subset=["distance", "disagreement"])
    plots = []
    if len(known):
        said = "; ".join(f"{cell}: {_rho(it)}" for cell, it in found.items() if it.pairs)
        alt = f"Dots of pairs of clients, disagreement of updates against distance of class mixes. {said}."
        plots.append(Plot(_scatter(runs, known), alt, "Disagreement of two clients' updates"))
    errors = curve.dropna(subset=["averaging_error"])
    if len(errors):
        means = errors.groupby("cell", sort=False)["averaging_error"].mean()
        said = ", ".join(f"{words.percent(mean)} at {cell}" for cell, mean in means.items())
        alt = f"Lines of the error of averaging by round. Mean over rounds: {said}."
        plots.append(Plot(_errors(runs, errors), alt, "Error of averaging A and B apart"))
    return Figure(
        title="How clients' updates relate",
        conclusion=_conclusion(known, found),
        plots=tuple(plots),
        legend=keys(looks(runs.cells, runs.controls)),
        table=curve,
        shown=pd.DataFrame([_row(runs, curve, cell, it) for cell, it in found.items()]),
        notes=_notes(runs, known),
    )


def _scatter(runs: Runs, known: pd.DataFrame) -> go.Figure:
    figure = chart("distance of class mixes (Jensen-Shannon, bits)", "disagreement of updates (1 − cosine)")
    for cell, look in looks(runs.cells, runs.controls).items():
        rows = known[known["cell"] == cell].sort_values("distance", kind="stable")
        dots = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, MOST_DOTS).astype(int))] if len(rows) else rows
        figure.add_trace(
            go.Scatter(
                x=dots["distance"].tolist(),
                y=dots["disagreement"].tolist(),
                name=cell,
                mode="markers",
                marker={"color": look["color"], "symbol": look["symbol"], "size": 5, "opacity": 0.45},
                text=[
                    f"clients {a} and {b}, seed {s}, round {r}"
                    for a, b, s, r in zip(dots["client"], dots["other"], dots["seed"], dots["round"], strict=True)
                ],
                hovertemplate="%{text}<br>distance %{x:.2f}, disagreement %{y:.2f}<extra></extra>",
            )
        )
        fifths = [rows.iloc[part] for part in np.array_split(np.arange(len(rows)), 5) if len(part) > 1]
        figure.add_trace(
            go.Scatter(
                x=[float(part["distance"].mean()) for part in fifths],
                y=[float(part["disagreement"].mean()) for part in fifths],
                name=f"{cell}, means of fifths",
                meta=[cell],
                mode="lines",
                line={"color": look["color"], "dash": look["dash"], "width": 2.5},
                hoverinfo="skip",
            )
        )
    return figure


def _errors(runs: Runs, errors: pd.DataFrame) -> go.Figure:
    figure = chart("round", "error / mean change of the product", hovermode="x unified")
    for cell, look in looks(runs.cells, runs.controls).items():
        means = errors[errors["cell"] == cell].groupby("round", as_index=False)["averaging_error"].mean()
        figure.add_trace(
            go.Scatter(
                x=means["round"].tolist(),
                y=means["averaging_error"].tolist(),
                name=cell,
                mode="lines+markers",
                line={"color": look["color"], "dash": look["dash"], "width": 2.5},
                marker={"symbol": look["symbol"], "size": 6},
                hovertemplate="%{y:.3f}",
            )
        )
    figure.update_yaxes(rangemode="tozero")
    return figure


def _row(runs: Runs, curve: pd.DataFrame, cell: str, found: Correlation) -> dict[str, str]:
    mean = curve[curve["cell"] == cell].mean(numeric_only=True)
    return {
        "cell": cell,
        "disagreement (1 − cosine)": words.number(1 - mean["cosine"]),
        "with distance: rho": _rho(found),
        "pairs": f"{found.pairs:,}",
        "gradient diversity": words.number(mean["diversity"]),
        "drift": words.number(mean["drift"]),
        "averaging error": words.percent(mean["averaging_error"]),
        "effective rank": words.number(mean["effective_rank"], 1),
        "effective updates": f"{words.number(mean['effective_updates'], 2)} of {words.number(mean['clients'], 0)}",
    }


def _rho(found: Correlation) -> str:
    if math.isnan(found.rho):
        return "–"
    if math.isnan(found.low):
        return words.number(found.rho, 2)
    return f"{words.number(found.rho, 2)} [{words.number(found.low, 2)}, {words.number(found.high, 2)}]"


def _conclusion(known: pd.DataFrame, found: dict[str, Correlation]) -> str:
    """On the cell where distances vary most from pair to pair: chosen by what was dealt, not by what came out."""
    if known.empty:
        return "No two clients with known class mixes trained in the same round, so no updates can be compared."
    cell = str(known.groupby("cell", sort=False)["distance"].std().fillna(0).idxmax())
    it = found[cell]
    where = f"at {cell}, where distances between clients vary most"
    if math.isnan(it.low):
        return f"Too little varies {where}, to say whether clients with other texts pull another way."
    doubt = (
        f"Spearman's rho {words.number(it.rho, 2)}, 95 % interval {words.number(it.low, 2)} to "
        f"{words.number(it.high, 2)}, {words.count(it.pairs, 'pair')} of {words.count(it.units, 'client')}"
    )
    if it.low > 0 or it.high < 0:
        way = "more" if it.low > 0 else "less"
        return f"Two clients' updates disagree {way} the further apart their texts are {where} ({doubt})."
    return f"It cannot be told {where}, whether clients with other texts pull another way ({doubt})."


def _notes(runs: Runs, known: pd.DataFrame) -> tuple[str, ...]:
    notes = ["In brackets: 95 % interval, a jackknife over clients, for each cell by itself."] if len(known) else []
    if len(known) and known.groupby("cell").size().max() > MOST_DOTS:
        notes.append(f"Of a cell at most {MOST_DOTS} pairs are drawn; all are counted.")
    return (*notes, *(runs.classed if len(known) else ()))
