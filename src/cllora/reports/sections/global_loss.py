"""The global model after every round."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import chart, keys, looks


@figures.register()
def global_loss(runs: Runs) -> Figure:
    """The global model on the global test set after every round; round 0 is the untrained base. Thick: mean over
    the seeds that are finished, or if none is over all. Thin: single seeds."""
    curve = runs.frame("curve")
    figure = chart("round", f"loss ({words.NATS})", hovermode="x unified")
    several = len(runs.seeds) > 1
    for cell, look in looks(runs.cells, runs.controls).items():
        of_cell = curve[curve["cell"] == cell]
        if several:
            for _, of_seed in of_cell.groupby("seed"):
                figure.add_trace(_line(of_seed, cell, look, thin=True))
        figure.add_trace(_line(_whole_rounds(runs.counted(of_cell)), cell, look))
    means = runs.results.groupby("cell", sort=False)["final_loss"].mean()
    ends = ", ".join(f"{words.number(loss)} for {cell}" for cell, loss in means.items())
    base = runs.results["base_loss"].mean()
    alt = f"Lines of the global test loss by round. From {words.number(base)} {words.NATS} untrained to {ends}."
    return Figure(
        title="Global loss by round",
        conclusion=words.effect(runs, "final_loss", "the final global loss"),
        plots=(Plot(figure, alt),),
        legend=keys(looks(runs.cells, runs.controls)),
        table=curve.rename(
            columns={"loss": f"loss ({words.NATS})", "loss_per_sample": "mean of the texts' means (nats per token)"}
        ),
        notes=_unfinished(runs),
    )


def _whole_rounds(of_cell: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds, for the rounds that all of the cell's seeds have: a mean over fewer would jump."""
    found = of_cell.groupby("round", as_index=False).agg(loss=("loss", "mean"), seeds=("seed", "nunique"))
    return found[found["seeds"] == of_cell["seed"].nunique()]


def _line(rows: pd.DataFrame, cell: str, look: dict[str, Any], thin: bool = False) -> go.Scatter:
    return go.Scatter(
        x=rows["round"].tolist(),
        y=rows["loss"].tolist(),
        name=cell,
        mode="lines" if thin else "lines+markers",
        line={"color": look["color"], "dash": look["dash"], "width": 1 if thin else 2.5},
        marker={"symbol": look["symbol"], "size": 6},
        opacity=0.3 if thin else 1,
        hoverinfo="skip" if thin else None,
        hovertemplate=None if thin else "%{y:.3f}",
    )


def _unfinished(runs: Runs) -> tuple[str, ...]:
    stopped = [
        f"{runs.cell(run.labels)}, seed {run.seed} stopped after round {run.outcome['rounds']:.0f} of "
        f"{run.experiment.federation.num_rounds}"
        for run in runs.members
        if not run.finished
    ]
    notes = []
    if stopped:
        notes.append(
            f"Unfinished: {'; '.join(stopped)}. Compared with the control are only runs that came equally far."
        )
    if runs.missing:
        notes.append(f"Not begun: {words.listed(list(runs.missing))}.")
    return tuple(notes)
