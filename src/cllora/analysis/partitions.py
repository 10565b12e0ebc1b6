"""The partitions of a study as tables: which cells share one, who got which texts, and how unlike clients are."""

import numpy as np
import pandas as pd

from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.metrics.formats import listed
from cllora.types import Heterogeneity

MEASURES = (
    "Jensen-Shannon (mean)",
    "total variation (mean)",
    "Gini of texts",
    "Gini of tokens",
    "effective clients (by tokens)",
    "length variance between clients",
    "the same in a random deal, on average",
)


def partitions(results: Results) -> dict[str, list[str]]:
    """The cells of every different partition, under what these have in common: strategies share their clients."""
    groups: dict[bytes, list[Run]] = {}
    for run in results.first.values():
        part = run.partition
        groups.setdefault(part.train_ids.tobytes() + part.train_offsets.tobytes(), []).append(run)
    cells_of: dict[str, list[str]] = {}
    for group in groups.values():
        common = [axis for axis in results.axes if len({run.labels[axis] for run in group}) == 1]
        apart = len(groups) > 1 and common
        title = ", ".join(f"{axis} = {group[0].labels[axis]}" for axis in common) if apart else "all runs"
        cells = [results.cell(run.labels) for run in group]
        cells_of[title if title not in cells_of else listed(cells)] = cells
    return cells_of


def texts_by_class(run: Run, names: list[str], most: int) -> pd.DataFrame:
    """A row per client and class: client, class (by its name), training_texts; all texts are of one class if the
    partition knows none. Clients are in the order of their mean class; of more than `most` every so many are there."""
    part, many = run.partition, len(names)
    owners = np.repeat(np.arange(part.num_clients), np.diff(part.train_offsets))
    classes = np.zeros(len(owners), np.int64) if part.class_of is None else part.class_of[part.train_ids].clip(0)
    counts = np.bincount(owners * many + classes, minlength=part.num_clients * many).reshape(-1, many)
    order = np.argsort((counts @ np.arange(many)) / counts.sum(axis=1).clip(1), kind="stable")
    order = order[np.linspace(0, len(order) - 1, min(len(order), most)).astype(int)]
    table = pd.DataFrame(counts[order], columns=names).assign(client=[f"{client}" for client in order])
    return table.melt("client", var_name="class", value_name="training_texts")


def unlikeness(results: Results) -> pd.DataFrame:
    """A row per partition: partition (its name), and means over seeds of `MEASURES`, and of those of a second feature
    and of corrupted texts where there are any; NaN where a partition was not measured."""
    rows = [
        {"partition": title, **_measures(run.partition.measured)}
        for title, cells in partitions(results).items()
        for run in results.members
        if results.cell(run.labels) == cells[0]
    ]
    return pd.DataFrame(rows).groupby("partition", sort=False, as_index=False).mean()


def _measures(measured: Heterogeneity | None) -> dict[str, float]:
    if measured is None:
        return dict.fromkeys(MEASURES, float("nan"))
    samples, tokens, between = measured.samples, measured.tokens, measured.variance_between
    numbers = (measured.js_mean, measured.tv_mean, samples.gini, tokens.gini, tokens.effective_clients)
    row = dict(zip(MEASURES, (*numbers, between.tokens, between.chance), strict=True))
    if measured.and_by is not None:
        row["second feature: Jensen-Shannon (mean)"] = measured.and_by.js_mean
    if measured.corrupted is not None:
        doses = measured.corrupted.doses
        row |= {"share of texts corrupted": measured.corrupted.share}
        row |= {"least of any client": min(doses), "most of any client": max(doses)}
    return row
