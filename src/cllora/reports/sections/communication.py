"""What crossed the network."""

import math

import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import GRID, INK, MUTED, SERIES, chart, rows_of_cells

COLUMNS = {
    "bytes_up": "up (MB)",
    "bytes_down": "down (MB)",
    "per_round": "per round (MB)",
    "bytes_full": "full model as often (MB)",
    "saved": "saved",
}


@figures.register()
def communication(runs: Runs) -> Figure:
    """Megabytes (10^6 bytes) that all clients sent and received over a run, as serialised messages, beside what the
    full model's parameters in float32 would have been, sent just as often. The scale is logarithmic: every line is ten
    times the one before."""
    costs = runs.results.groupby("cell", sort=False)[["bytes_up", "bytes_down", "bytes_full", "saved", "rounds"]].mean()
    costs = costs.assign(total=costs["bytes_up"] + costs["bytes_down"])
    costs = costs.assign(per_round=costs["total"] / costs["rounds"].clip(lower=1))
    table = costs[list(COLUMNS)].reset_index()
    readable = {key: words.percent if key == "saved" else words.megabytes for key in COLUMNS}
    shown = table.assign(**{key: table[key].map(text) for key, text in readable.items()}).rename(columns=COLUMNS)
    if costs["total"].sum() == 0:
        return Figure("Communication", "Nothing crossed the network yet.", table=table, shown=shown)
    figure = chart("megabytes per run, up and down", runs.axis_title)
    cells = [str(cell) for cell in costs.index]
    adapters, full = (costs[column].to_numpy() / 1e6 for column in ("total", "bytes_full"))
    for cell, a, f in zip(cells, adapters, full, strict=True):
        figure.add_trace(
            go.Scatter(
                x=[a, f],
                y=[cell, cell],
                mode="lines",
                line={"color": GRID, "width": 4},
                hoverinfo="skip",
            )
        )
    for name, values, colour, symbol in (
        ("adapters, as sent", adapters, SERIES[0], "circle"),
        ("full model, had it been sent", full, MUTED, "diamond"),
    ):
        figure.add_trace(
            go.Scatter(
                x=values.tolist(),
                y=cells,
                name=name,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 13},
                hovertemplate="%{y}: %{x:,.3s} MB<extra>" + name + "</extra>",
            )
        )
    rows_of_cells(figure, cells, [runs.short(cell) for cell in cells])
    figure.update_xaxes(type="log", showgrid=True, dtick=1, color=INK, tickformat=",~r", exponentformat="none")
    totals = ", ".join(f"{words.megabytes(total)} MB at {cell}" for cell, total in costs["total"].items())
    return Figure(
        title="Communication",
        conclusion=_conclusion(float(costs["total"].mean()), float(costs["bytes_full"].mean()), costs["saved"].mean()),
        plots=(Plot(figure, f"Dots on a logarithmic scale. Sent and received: {totals}."),),
        legend=(
            Key("adapters, as sent", SERIES[0], symbol="circle"),
            Key("full model, had it been sent", MUTED, symbol="diamond"),
        ),
        table=table,
        shown=shown,
    )


def _conclusion(total: float, full: float, saved: float) -> str:
    sent = f"A run sent and received {words.megabytes(total)} MB on average"
    if math.isnan(full):
        return f"{sent}; the full model's size was not recorded, so nothing can be said of what that saves."
    return f"{sent}, {words.percent(saved)} less than the full model's {words.megabytes(full)} MB for as many messages."
