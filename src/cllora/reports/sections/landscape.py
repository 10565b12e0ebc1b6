"""Whether averaging two clients' adapters lands in a valley or on a ridge."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Run, Runs
from cllora.reports.style import INK, PAPER, chart

TITLE = "The loss around the last average"
MOST_CELLS = 8
"""Cells that the page draws, each with its first seed; the file has all runs."""


@figures.register()
def landscape(runs: Runs) -> Figure:
    """Loss on a few texts of the global test set over the plane through three adapters of the last round: the one that
    was sent, and two clients' own after their local training. Minus the loss at the clients' average; below zero is
    better than the average. Axes are distances between adapters. One seed of each cell. The barrier is how far the
    loss rises above the straight line from one client's loss to the other's on the way between them (0: none)."""
    kept = runs.measured("loss_surface")
    if not kept:
        return Figure(TITLE, "The loss around the last average was not measured.", measured=False)
    first: dict[str, tuple[Run, pd.DataFrame]] = {}
    for run, surface in kept:
        first.setdefault(runs.cell(run.labels), (run, surface))
    drawn = list(first.items())[:MOST_CELLS]
    return Figure(
        title=TITLE,
        conclusion=words.effect(runs, "barrier", "the barrier between two clients' adapters"),
        plots=tuple(_plot(cell, run.seed, surface) for cell, (run, surface) in drawn),
        table=runs.stacked((run, pd.DataFrame([_numbers(surface)])) for run, surface in kept),
        notes=words.not_drawn(len(first) - MOST_CELLS),
    )


def _kind(surface: pd.DataFrame, kind: str) -> pd.DataFrame:
    return surface[surface["kind"] == kind]


def _numbers(surface: pd.DataFrame) -> dict[str, float]:
    """Losses at the marked adapters, and what averaging gained: the clients' mean loss minus the average's."""
    points = _kind(surface, "point")
    losses = dict(zip(points["name"].astype(str), points["loss"], strict=True))
    clients = [loss for name, loss in losses.items() if name.startswith("client ")]
    mean = sum(clients) / len(clients)
    return {
        "barrier": _kind(surface, "line")["rise"].max(skipna=False),
        "sent": losses["sent"],
        "clients_mean": mean,
        "average": losses["average"],
        "global": losses["global"],
        "gain_of_averaging": mean - losses["average"],
    }


def _plot(cell: str, seed: int, surface: pd.DataFrame) -> Plot:
    points = {row["name"]: row for _, row in _kind(surface, "point").iterrows()}
    average = points["average"]["loss"]
    level = 0.0 if math.isnan(average) else average
    plane = _kind(surface, "grid")
    side = math.isqrt(len(plane))
    heights = (plane["loss"].to_numpy() - level).reshape(side, side)
    figure = chart("distance along the first client's update", "distance across it", height=420)
    figure.add_trace(
        go.Contour(
            x=plane["x"].tolist()[:side],
            y=plane["y"].tolist()[::side],
            z=[[None if math.isnan(height) else height for height in row] for row in heights.tolist()],
            colorscale="Viridis",
            ncontours=16,
            line={"width": 0.5},
            colorbar={"title": {"text": "loss − average's", "side": "right"}, "thickness": 12, "tickformat": "+.2~g"},
            hovertemplate="%{x:.3g}, %{y:.3g}: %{z:+.4f}<extra></extra>",
        )
    )
    marked = [point for point in points.values() if point["name"] != "global" or _elsewhere(point, points["average"])]
    figure.add_trace(
        go.Scatter(
            x=[point["x"] for point in marked],
            y=[point["y"] for point in marked],
            mode="markers+text",
            text=[point["name"] for point in marked],
            textposition="top center",
            textfont={"color": "white", "shadow": "0 0 3px black, 0 0 2px black"},
            marker={"color": PAPER, "line": {"color": INK, "width": 1.5}, "size": 9},
            customdata=[[point["loss"], point["off"]] for point in marked],
            hovertemplate="%{text}: loss %{customdata[0]:.4f}, %{customdata[1]:.2g} off the plane<extra></extra>",
        )
    )
    figure.update_yaxes(scaleanchor="x", showgrid=False, constrain="domain")
    figure.update_xaxes(constrain="domain")
    said = ", ".join(f"{words.number(point['loss'])} at {point['name']}" for point in marked)
    alt = f"Contours of the loss over the plane through the adapter sent and two clients', {cell}. Loss {said}."
    return Plot(figure, alt, f"{cell}, seed {seed}")


def _elsewhere(point: "pd.Series[Any]", other: "pd.Series[Any]") -> bool:
    """Whether two adapters are more apart than rounding makes them."""
    apart = math.dist((point["x"], point["y"], point["off"]), (other["x"], other["y"], other["off"]))
    return apart > 1e-4 * math.hypot(point["x"], point["y"])
