"""The section on failure signatures: the rounds and clients that they are found at."""

from collections.abc import Iterator, Sequence

import pandas as pd

from cllora.analysis import Results
from cllora.errors import counted
from cllora.metrics.formats import capital, listed, signed
from cllora.reports.facts import Count, Share, Statement
from cllora.reports.lines import SHAPES
from cllora.reports.section import Lines, Section, sections

MOST_CLIENTS = 12
"""Clients of one signature whose curves are drawn; all are in the table."""
OF_CLIENTS = ("early over-fitting", "never learns")
"""The signatures that are of single clients, and drawn here."""


@sections.register(title="Failure signatures", after="communication")
def signatures(results: Results) -> Section:
    """Failures that rules find on the curves of single runs, with the round and, where it is one, the client; the
    rules and their thresholds are in the documentation. Oscillation and divergence are marked on the global loss,
    fairness collapse on the fairness by round, and those of single clients here. A mark is worth a look and no proof:
    whether a setting brings it about is told by the effects."""
    every = results.signatures
    if every.empty:
        text = f"No run shows any of these: {listed(list(SHAPES))}."
        return Section((Statement(text, {"runs": 0}),))
    gaps = results.frame("gaps").rename(columns={"own_local": "loss"})
    clients = results.frame("clients").rename(columns={"change": "loss_change"})
    return Section(
        facts=(_fact(results, every),),
        figures=(
            _clients(results, gaps, "early over-fitting", "own adapter after its local training", "loss"),
            _clients(results, clients, "never learns", "global model on the client's texts", "loss_change"),
        ),
        table=pd.DataFrame([_row(row) for _, row in every.iterrows()]),
        file=every.assign(client=every["client"].where(every["client"] >= 0)),
        folded=len(every) > 12,
        notes=tuple(_counts(results, every)),
    )


def marks(results: Results, rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The signatures of these names where they lie on the lines of `rows`, which may be of single clients (a column
    `client`): those rows, with columns mark and text."""
    on = ["cell", "seed", "round", *(["client"] if "client" in rows else [])]
    marked = results.signatures[results.signatures["signature"].isin(names)].merge(rows, on=on, suffixes=("", "_"))
    where = marked["cell"] + ", seed " + marked["seed"].astype(str)
    return marked.assign(mark=marked["signature"], text=marked["signature"] + ", " + where + ": " + marked["sentence"])


def _clients(results: Results, rows: pd.DataFrame, name: str, subject: str, y: str) -> Lines:
    """The curves of the clients with the most of one signature, each on its own test texts, marked where it is."""
    marked_clients = results.signatures.query("signature == @name")
    marked_clients = marked_clients.sort_values("size", ascending=name == "never learns")
    chosen = marked_clients.head(MOST_CLIENTS)[["cell", "seed", "client"]]
    curves = rows.merge(chosen, on=["cell", "seed", "client"]).dropna(subset=[y])
    marked = marks(results, curves, [name])
    title = f"{capital(name)}: {subject}"
    units = ("seed", "client")
    return Lines(curves, "round", y, units=units, mean=False, marks=marked, zero=y == "loss_change", title=title)


def _row(row: "pd.Series[float]") -> dict[str, object]:
    return {
        "signature": row["signature"],
        "where": f"{row['cell']}, seed {row['seed']}",
        "round": row["round"],
        "client": "–" if row["client"] < 0 else row["client"],
        "size": signed(row["size"]),
        "in words": capital(f"{row['sentence']}.").replace("-0.", "−0."),
    }


def _fact(results: Results, every: pd.DataFrame) -> Count:
    """In how many runs there is any, and in which cell most often."""
    marked = every[["cell", "seed"]].drop_duplicates()["cell"].value_counts(sort=False)
    cell = str(marked.idxmax())
    share = Share(int(marked.sum()), len(results.members))
    in_cell = Share(int(marked[cell]), _runs(results, cell))
    return Count(share, "run", "show at least one signature of failure", (cell, in_cell))


def _runs(results: Results, cell: str) -> int:
    return sum(results.cell(run.labels) == cell for run in results.members)


def _counts(results: Results, every: pd.DataFrame) -> Iterator[str]:
    """The number of runs of each cell, and of clients, with each signature."""
    for name, rows in every.groupby("signature", sort=False):
        counts = []
        for cell, own in rows.groupby("cell", sort=False):
            clients = f" ({counted(len(own), 'client')})" if name in OF_CLIENTS else ""
            counts.append(f"{own['seed'].nunique()} of {counted(_runs(results, str(cell)), 'run')} at {cell}{clients}")
        yield f"{capital(str(name))}: {', '.join(counts)}."
