"""The section on the partition, as it was realised."""

from collections.abc import Mapping

import pandas as pd

from cllora.analysis import Results, partitions, texts_by_class, unlikeness
from cllora.metrics.formats import capital, listed
from cllora.reports.facts import NotMeasured, Range
from cllora.reports.section import Bars, Section, sections
from cllora.reports.tables import means

MOST_BARS = 200
"""Clients that a picture has room for."""


@sections.register(title="Who got which texts", after="design")
def partition(results: Results) -> Section:
    """The training texts of every client, stacked by class, in the first seed; clients in the order of their mean
    class. In the table, means over seeds: how far the clients' mixes are from the pool's (0: the same, 1: nothing
    in common), how unequal their amounts are (Gini, 0: equal), and the share of the variance of text length, in tokens
    as the model sees them, that lies between clients."""
    names = [f"{results.feature}: {results.class_names[0]}", *results.class_names[1:]]
    dealt = {title: results.first[cells[0]] for title, cells in partitions(results).items()}
    bars = [texts_by_class(run, names, MOST_BARS).assign(partition=title) for title, run in dealt.items()]
    table = unlikeness(results)
    distances = means(table, "Jensen-Shannon (mean)", "partition")
    most = max(run.partition.num_clients for run in dealt.values())
    left_out = f"Of {most:,} clients {MOST_BARS} are drawn." if most > MOST_BARS else ""
    warnings = {title: run.partition.measured.warnings for title, run in dealt.items() if run.partition.measured}
    return Section(
        facts=(Range("js_mean", distances) if distances else NotMeasured("js_mean"),),
        figures=(Bars(pd.concat(bars), "client", "training_texts", "class", facet="partition", ordered=True),),
        table=table,
        folded=False,
        notes=(*results.classed, left_out, *_warnings(warnings, len(dealt))),
    )


def _warnings(warnings: Mapping[str, tuple[str, ...]], partitions: int) -> list[str]:
    """Every warning of the first seed's partitions once, with the partitions it is of."""
    where: dict[str, list[str]] = {}
    for title, sentences in warnings.items():
        for sentence in sentences:
            where.setdefault(sentence, []).append(title)
    return [
        capital(f"{sentence}{'' if len(titles) == partitions else f' ({listed(titles)})'}.")
        for sentence, titles in where.items()
    ]
