"""Lines over rounds: a cell's mean with a band over its seeds, and marks where something went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cllora.reports.figure import Key
from cllora.reports.runs import Runs
from cllora.reports.style import MUTED, looks

SINGLE = Key("single seeds", MUTED, "thin")
BAND = "The band is the mean plus and minus one standard deviation over seeds."

MARKS = {
    "global oscillation": "triangle-up",
    "divergence": "x",
    "fairness collapse": "star",
    "early over-fitting": "triangle-down",
    "never learns": "square",
}
"""The symbol of each failure signature, drawn open."""


def by_round(figure: go.Figure, runs: Runs, rows: pd.DataFrame, column: str, band: bool = True) -> None:
    """Draw a column of `rows` (cell, seed, round, ...): thin each seed, thick the mean of the runs that count.

    The band around a mean is one standard deviation (divided by n - 1) to either side; one seed has none. Without
    `band` where seeds differ for another reason than training.
    """
    for cell, look in looks(runs.cells, runs.controls).items():
        of_cell = rows[rows["cell"] == cell].dropna(subset=[column])
        whole = _whole_rounds(runs.counted(of_cell), column)
        if band and whole["spread"].notna().any():
            figure.add_trace(_band(whole.dropna(subset=["spread"]), cell, look))
        if len(runs.seeds) > 1:
            for seed, of_seed in of_cell.groupby("seed"):
                figure.add_trace(_thin(of_seed["round"], of_seed[column], cell, look, f"{cell}, seed {seed}"))
        figure.add_trace(_mean(whole, cell, look))


def _whole_rounds(of_cell: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean and spread over seeds, for the rounds that all of the cell's seeds have: a mean over fewer would jump."""
    found = of_cell.groupby("round", as_index=False).agg(
        mean=(column, "mean"), spread=(column, "std"), seeds=("seed", "nunique")
    )
    return found[found["seeds"] == of_cell["seed"].nunique()]


def _band(whole: pd.DataFrame, cell: str, look: Mapping[str, Any]) -> go.Scatter:
    rounds, low, high = whole["round"], whole["mean"] - whole["spread"], whole["mean"] + whole["spread"]
    return go.Scatter(
        x=[*rounds, *rounds[::-1]],
        y=[*high, *low[::-1]],
        name=cell,
        meta=[cell],
        mode="lines",
        line={"width": 0, "color": look["color"]},
        fill="toself",
        fillcolor=look["color"],
        opacity=0.1,
        hoverinfo="skip",
    )


def _thin(x: "pd.Series[Any]", y: "pd.Series[Any]", cell: str, look: Mapping[str, Any], name: str) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        meta=[cell, SINGLE.name],
        mode="lines",
        line={"color": look["color"], "dash": look["dash"], "width": 1},
        opacity=0.35,
        hoverinfo="skip",
    )


def _mean(whole: pd.DataFrame, cell: str, look: Mapping[str, Any]) -> go.Scatter:
    known = whole["spread"].notna().any()
    return go.Scatter(
        x=whole["round"].tolist(),
        y=whole["mean"].tolist(),
        customdata=whole["spread"].tolist() if known else None,
        name=cell,
        meta=[cell],
        mode="lines+markers",
        line={"color": look["color"], "dash": look["dash"], "width": 2.5},
        marker={"symbol": look["symbol"], "size": 6},
        hovertemplate="%{y:.3f} ± %{customdata:.3f}" if known else "%{y:.3f}",
    )


def marks(figure: go.Figure, runs: Runs, rows: pd.DataFrame, column: str, names: Sequence[str]) -> tuple[Key, ...]:
    """Mark the signatures of these names on each seed's line of `rows`, and return their keys.

    `rows` may be of single clients (a column `client`); else a mark lies on the line of its run.
    """
    on = ["cell", "seed", "round", *(["client"] if "client" in rows else [])]
    found = runs.signatures[runs.signatures["signature"].isin(names)].merge(rows[[*on, column]], on=on)
    colours = looks(runs.cells, runs.controls)
    for (name, cell), of in found.groupby(["signature", "cell"], sort=False):
        figure.add_trace(
            go.Scatter(
                x=of["round"].tolist(),
                y=of[column].tolist(),
                name=f"{name}, {cell}",
                meta=[cell, name],
                mode="markers",
                marker={
                    "symbol": f"{MARKS[str(name)]}-open",
                    "size": 11,
                    "color": colours[str(cell)]["color"],
                    "line": {"width": 2},
                },
                text=[f"{name}, {cell}, seed {s}: {said}" for s, said in zip(of["seed"], of["said"], strict=True)],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return tuple(Key(name, MUTED, symbol=f"{MARKS[name]}-open") for name in names if (found["signature"] == name).any())
