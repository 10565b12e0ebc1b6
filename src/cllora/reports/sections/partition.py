"""Who got what, as it was realised."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cllora.analysis import Results, Run
from cllora.reports.facts import Fact, NotMeasured, Range
from cllora.reports.formats import capital, listed
from cllora.reports.section import Bars, Section, sections
from cllora.reports.tables import means
from cllora.types import Heterogeneity

MOST_BARS = 200
"""Clients that a picture has room for."""
MEASURES = (
    "Jensen-Shannon (mean)",
    "total variation (mean)",
    "Gini of texts",
    "Gini of tokens",
    "effective clients (by tokens)",
    "length variance between clients",
    "the same in a random deal, on average",
)


@sections.register(after="design")
def partition(results: Results) -> Section:
    """The training texts of every client, stacked by class, in the first seed; clients in the order of their mean
    class. In the table, means over seeds: how far the clients' mixes are from the pool's (0: the same, 1: nothing
    in common), how unequal their amounts are (Gini, 0: equal), and the share of the variance of text length, in tokens
    as the model sees them, that lies between clients."""
    names = [f"{results.feature}: {results.class_names[0]}", *results.class_names[1:]]
    dealt = _dealt(results)
    first = {title: results.first[cells[0]] for title, cells in dealt.items()}
    bars = pd.concat([_counts(run, names).assign(partition=title) for title, run in first.items()])
    rows = [
        {"partition": title, **_measures(run)}
        for title, cells in dealt.items()
        for run in results.members
        if results.cell(run.labels) == cells[0]
    ]
    table = pd.DataFrame(rows).groupby("partition", sort=False, as_index=False).mean()
    most = max(run.partition.num_clients for run in first.values())
    some = (f"Of {most:,} clients {MOST_BARS} are drawn.",) if most > MOST_BARS else ()
    return Section(
        title="Who got which texts",
        facts=(_fact(table),),
        figures=(Bars(bars, "client", "training_texts", "class", facet="partition", ordered=True),),
        table=table,
        folded=False,
        notes=(*results.classed, *some, *_warnings(results, dealt)),
    )


def _counts(run: Run, names: list[str]) -> pd.DataFrame:
    """Training texts by client and class, clients in the order of their mean class; all texts in one class if the
    partition knows none."""
    part, many = run.partition, len(names)
    owners = np.repeat(np.arange(part.num_clients), np.diff(part.train_offsets))
    classes = np.zeros(len(owners), np.int64) if part.class_of is None else part.class_of[part.train_ids].clip(0)
    counts = np.bincount(owners * many + classes, minlength=part.num_clients * many).reshape(-1, many)
    order = np.argsort((counts @ np.arange(many)) / counts.sum(axis=1).clip(1), kind="stable")
    order = order[np.linspace(0, len(order) - 1, min(len(order), MOST_BARS)).astype(int)]
    table = pd.DataFrame(counts[order], columns=names).assign(client=[f"{client}" for client in order])
    return table.melt("client", var_name="class", value_name="training_texts")


def _measures(run: Run) -> dict[str, float]:
    """The main numbers of `partition.json`; of a partition that was not measured there are none."""
    measured = run.partition.measured
    if measured is None:
        return dict.fromkeys(MEASURES, float("nan"))
    spread, between = (measured.samples, measured.tokens), measured.variance_between
    numbers = (measured.js_mean, measured.tv_mean, *(amounts.gini for amounts in spread))
    numbers += measured.tokens.effective_clients, between.tokens, between.chance
    return {**dict(zip(MEASURES, numbers, strict=True)), **_where_asked(measured)}


def _where_asked(measured: Heterogeneity) -> dict[str, float]:
    """Of a second feature, and of corrupted texts, where there are any."""
    second, corrupted = measured.and_by, measured.corrupted
    more = {} if second is None else {"second feature: Jensen-Shannon (mean)": second.js_mean}
    if corrupted is not None:
        more["share of texts corrupted"] = corrupted.share
        more["least of any client"], more["most of any client"] = min(corrupted.doses), max(corrupted.doses)
    return more


def _fact(table: pd.DataFrame) -> Fact:
    distances = means(table, "Jensen-Shannon (mean)", "partition")
    return Range("js_mean", distances) if distances else NotMeasured("js_mean")


def _warnings(results: Results, dealt: Mapping[str, list[str]]) -> list[str]:
    """Every warning of the first seed's partitions once, with the partitions it is of."""
    where: dict[str, list[str]] = {}
    for title, cells in dealt.items():
        measured = results.first[cells[0]].partition.measured
        for sentence in () if measured is None else measured.warnings:
            where.setdefault(sentence, []).append(title)
    return [
        capital(f"{sentence}{'' if len(titles) == len(dealt) else f' ({listed(titles)})'}.")
        for sentence, titles in where.items()
    ]


def _dealt(results: Results) -> dict[str, list[str]]:
    """The cells of every different partition, under what these have in common: strategies share their clients."""
    groups: dict[bytes, list[Run]] = {}
    for run in results.first.values():
        part = run.partition
        groups.setdefault(part.train_ids.tobytes() + part.train_offsets.tobytes(), []).append(run)
    named: dict[str, list[str]] = {}
    for group in groups.values():
        common = [axis for axis in results.axes if len({run.labels[axis] for run in group}) == 1]
        apart = len(groups) > 1 and common
        title = ", ".join(f"{axis} = {group[0].labels[axis]}" for axis in common) if apart else "all runs"
        cells = [results.cell(run.labels) for run in group]
        named[title if title not in named else listed(cells)] = cells
    return named
