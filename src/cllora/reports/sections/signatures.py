"""What went wrong, where, and with which client."""

import pandas as pd

from cllora.reports import words
from cllora.reports.curves import MARKS, SINGLE, marks
from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import ZERO_LINE, chart, keys, looks

MOST_CLIENTS = 12
"""Clients of one signature whose curves are drawn; all are in the table."""

OF_CLIENTS = ("early over-fitting", "never learns")
"""The signatures that are of single clients, and drawn here."""

SINGLE_CLIENTS = Key("lines of clients", SINGLE.colour, "thin")


@figures.register()
def signatures(runs: Runs) -> Figure:
    """Failures that rules find on the curves of single runs, with the round and, where it is one, the client; the
    rules and their thresholds are in the documentation. Oscillation and divergence are marked on the global loss,
    fairness collapse on the fairness by round, and those of single clients here. A mark is worth a look and no proof:
    whether a setting brings it about is told by the effects."""
    found = runs.signatures
    if found.empty:
        rules = words.listed(list(MARKS))
        return Figure("Failure signatures", f"No run shows any of these: {rules}.")
    gaps = runs.frame("gaps").rename(columns={"own_local": "loss"})
    drawn = [
        *_clients(runs, gaps, "early over-fitting", "own adapter after its local training", "loss"),
        *_clients(runs, runs.frame("clients"), "never learns", "global model on the client's texts", "change"),
    ]
    used = tuple(key for _, own in drawn for key in own)
    of_clients = set(found.loc[found["signature"].isin(OF_CLIENTS), "cell"])
    cells = {cell: look for cell, look in looks(runs.cells, runs.controls).items() if cell in of_clients}
    return Figure(
        title="Failure signatures",
        conclusion=_conclusion(runs, found),
        plots=tuple(plot for plot, _ in drawn),
        legend=(*keys(cells), SINGLE_CLIENTS, *used) if used else (),
        table=found.assign(client=found["client"].where(found["client"] >= 0)),
        shown=pd.DataFrame([_row(row) for _, row in found.iterrows()]),
        folded=len(found) > 12,
        notes=_counts(runs, found),
    )


def _clients(runs: Runs, rows: pd.DataFrame, name: str, of: str, column: str) -> list[tuple[Plot, tuple[Key, ...]]]:
    """The curves of the clients with the most of one signature, each on its own test texts, marked where it is; with
    the keys of the marks. Nothing where there are none."""
    found = runs.signatures.query("signature == @name").sort_values("size", ascending=name == "never learns")
    chosen = found.head(MOST_CLIENTS)[["cell", "seed", "client"]]
    curves = rows.merge(chosen, on=["cell", "seed", "client"]).dropna(subset=[column])
    if curves.empty:
        return []
    figure = chart("round", f"{'change of loss' if column == 'change' else 'loss'}<br>(nats per token)", 320)
    colours = looks(runs.cells, runs.controls)
    for (cell, seed, client), line in curves.groupby(["cell", "seed", "client"], sort=False):
        look = colours[str(cell)]
        figure.add_scatter(
            x=line["round"].tolist(),
            y=line[column].tolist(),
            name=f"client {client:.0f}, {cell}, seed {seed}",
            meta=[str(cell), SINGLE_CLIENTS.name],
            mode="lines+markers",
            line={"color": look["color"], "dash": look["dash"], "width": 1.5},
            marker={"symbol": look["symbol"], "size": 4},
            opacity=0.65,
            hovertemplate="%{fullData.name}, round %{x}: %{y:.3f}<extra></extra>",
        )
    if column == "change":
        figure.add_hline(y=0, line=ZERO_LINE)
    own = marks(figure, runs, curves, column, [name])
    many = f"{len(chosen)} of {len(found)}" if len(found) > len(chosen) else f"{len(found)}"
    alt = f"Loss by round of {many} clients with the signature {name}, marked in the round where it is."
    return [(Plot(figure, alt, f"{words.capital(name)}: {of}"), own)]


def _row(row: pd.Series) -> dict[str, str]:
    return {
        "signature": str(row["signature"]),
        "where": f"{row['cell']}, seed {row['seed']}",
        "round": f"{row['round']}",
        "client": "–" if row["client"] < 0 else f"{row['client']}",
        "size": words.signed(row["size"]),
        "in words": words.capital(f"{row['said']}.").replace("-0.", "−0."),
    }


def _conclusion(runs: Runs, found: pd.DataFrame) -> str:
    marked = len(found.groupby(["cell", "seed"]))
    most = str(found.groupby("cell", sort=False)["seed"].nunique().idxmax())
    there = found[found["cell"] == most]["seed"].nunique()
    of = sum(runs.cell(run.labels) == most for run in runs.members)
    return (
        f"{marked} of {words.count(len(runs.members), 'run')} show at least one signature of failure, most often at "
        f"{most} ({there} of {of})."
    )


def _counts(runs: Runs, found: pd.DataFrame) -> tuple[str, ...]:
    """For each signature, in how many runs of each cell it is, and with how many clients."""
    every = pd.Series([runs.cell(run.labels) for run in runs.members]).value_counts()
    notes = []
    for name, of_name in found.groupby("signature", sort=False):
        said = []
        for cell, of in of_name.groupby("cell", sort=False):
            clients = len(of[of["client"] >= 0]) if name in OF_CLIENTS else 0
            with_clients = f" ({words.count(clients, 'client')})" if clients else ""
            said.append(f"{of['seed'].nunique()} of {words.count(int(every[cell]), 'run')} at {cell}{with_clients}")
        notes.append(f"{words.capital(str(name))}: {', '.join(said)}.")
    return tuple(notes)
