"""What the clients get: their own adapters against the global one, and how evenly the global one serves them."""

import math

import numpy as np
import pandas as pd

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import ZERO_LINE, chart, looks, rows_of_cells, strip

NO_TESTS = "Clients kept no test texts of their own (partition.local_test is 0), so nothing is known of single clients."


@figures.register()
def local_against_global(runs: Runs) -> Figure:
    """A client's adapter just after its local training, minus the global model that came out of the same round. Left of
    zero its own adapter is better. First on the client's own test texts, then on everyone's (the global test set). One
    dot is a client's last local training in a run; the box goes from quartile to quartile, its dashed line is the
    mean, and its whiskers end at the last dots within one and a half times the box's length."""
    gaps = runs.counted(runs.frame("gaps"))
    gaps = gaps.sort_values("round", kind="stable").groupby(["cell", "seed", "client"], as_index=False).tail(1)
    if gaps["own_gap"].isna().all() and gaps["test_gap"].isna().all():
        return Figure(
            "Local against global loss", "No client's own adapter was evaluated, so there is nothing to compare."
        )
    plots, shorts = [], [runs.short(cell) for cell in runs.cells]
    ends = gaps[["own_gap", "test_gap"]].to_numpy(float)
    low, high = min(0, float(np.nanmin(ends))), max(0, float(np.nanmax(ends)))
    for column, title in (("own_gap", "On the client's own test texts"), ("test_gap", "On everyone's test texts")):
        figure = chart("local − global<br>(nats per token)", runs.axis_title)
        for cell, look in looks(runs.cells, runs.controls).items():
            rows = gaps[gaps["cell"] == cell].dropna(subset=[column])
            hover = [
                f"client {c}, seed {s}, round {r}: {words.signed(x)}"
                for c, s, r, x in zip(rows["client"], rows["seed"], rows["round"], rows[column], strict=True)
            ]
            strip(figure, cell, look, rows[column].tolist(), hover)
        figure.add_vline(x=0, line=ZERO_LINE)
        rows_of_cells(figure, runs.cells, shorts)
        figure.update_xaxes(range=[low - 0.06 * (high - low), high + 0.06 * (high - low)])
        plots.append(Plot(figure, f"{title}: {_means(gaps, column)}.", title))
    own = gaps["own_gap"].notna().any()
    return Figure(
        title="Local against global loss",
        conclusion=words.effect(runs, "own_gap", "local minus global loss on clients' own texts")
        if own
        else f"On everyone's test texts: {_means(gaps, 'test_gap')}.",
        plots=tuple(plots if own else plots[1:]),
        table=gaps,
        notes=() if own else (NO_TESTS,),
    )


@figures.register()
def client_spread(runs: Runs) -> Figure:
    """The final global model on every client's own test texts, minus the untrained base's loss on the same texts: what
    training brought each client. Texts differ in how hard they are, so raw losses would show the texts, not the
    training. One dot is a client in a run; the further right, the less it was helped. The box goes from quartile to
    quartile, its dashed line is the mean, and its whiskers end at the last dots within one and a half times the box's
    length."""
    clients = runs.final("clients").dropna(subset=["change"])
    if clients.empty:
        return Figure("What training brought each client", NO_TESTS)
    figure = chart("change of loss<br>(nats per token)", runs.axis_title)
    for cell, look in looks(runs.cells, runs.controls).items():
        rows = clients[clients["cell"] == cell]
        hover = [
            f"client {c}, seed {s}: {words.signed(x)}<br>{n} test texts, loss {words.number(loss)}"
            for c, s, x, n, loss in zip(
                rows["client"], rows["seed"], rows["change"], rows["samples"], rows["loss"], strict=True
            )
        ]
        strip(figure, cell, look, rows["change"].tolist(), hover)
    rows_of_cells(figure, runs.cells, [runs.short(cell) for cell in runs.cells])
    each = words.span(int(clients["samples"].min()), int(clients["samples"].max()))
    return Figure(
        title="What training brought each client",
        conclusion=words.effect(runs, "change_std", "the spread over clients (standard deviation of loss minus base)"),
        plots=(Plot(figure, f"Dots of every client's change of loss against the base. {_means(clients, 'change')}."),),
        table=_with_contexts(clients, runs),
        notes=(f"A client is tested on {each} of its own texts: part of the spread is the chance of which texts.",),
    )


def _with_contexts(clients: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """The table with each client's context in training, where clients have their own (`local.contexts`)."""
    if all(run.partition.context(0) is None for run in runs.members):
        return clients
    of = {(runs.cell(run.labels), run.seed): run for run in runs.members}
    found = []
    for cell, seed, client in clients[["cell", "seed", "client"]].itertuples(index=False):
        run = of[cell, seed]
        found.append(run.partition.context(client) or run.experiment.model.context)
    return clients.assign(context=found)


def _means(rows: pd.DataFrame, column: str) -> str:
    means = rows.groupby("cell", sort=False)[column].mean()
    return "mean " + ", ".join(f"{words.signed(m)} at {cell}" for cell, m in means.items() if not math.isnan(m))
