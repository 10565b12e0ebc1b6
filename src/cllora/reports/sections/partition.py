"""Who got what, as it was realised."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.runs import Run, Runs
from cllora.reports.style import PAPER, chart, class_colours
from cllora.types import Heterogeneity

MOST_BARS = 200
MEASURES = (
    "Jensen-Shannon (mean)",
    "total variation (mean)",
    "Gini of texts",
    "Gini of tokens",
    "effective clients (by tokens)",
    "length variance between clients",
    "the same in a random deal, on average",
)


@figures.register()
def partition(runs: Runs) -> Figure:
    """The training texts of every client, stacked by class, in the first seed; clients in the order of their mean
    class. In the table, means over seeds: how far the clients' mixes are from the pool's (0: the same, 1: nothing
    in common), how unequal their amounts are (Gini, 0: equal), and the share of the variance of text length, in tokens
    as the model sees them, that lies between clients."""
    names = runs.class_names
    shown = [f"{runs.feature}: {names[0]}", *names[1:]]
    colours = class_colours(len(names))
    dealt = _dealt(runs)
    highest = max(int(np.diff(run.partition.train_offsets).max()) for run in runs.first.values())
    plots = []
    for title, cells in dealt.items():
        counts = _counts(runs.first[cells[0]], len(names))
        plots.append(Plot(_bars(counts, shown, colours, highest), _alt(counts, names, title), title))
    rows = [
        {"partition": title, **_measures(run)}
        for title, cells in dealt.items()
        for run in runs.members
        if runs.cell(run.labels) == cells[0]
    ]
    table = pd.DataFrame(rows).groupby("partition", sort=False, as_index=False).mean()
    return Figure(
        title="Who got which texts",
        conclusion=_conclusion(table),
        plots=tuple(plots),
        legend=tuple(map(Key, shown, colours)),
        table=table,
        folded=False,
        notes=(*runs.classed, *_warnings(runs, dealt)),
    )


def _counts(run: Run, classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Training texts by client and class (K, C); all in one class if the partition knows none."""
    part = run.partition
    owners = np.repeat(np.arange(part.num_clients), np.diff(part.train_offsets))
    known = np.zeros(len(owners), np.int64) if part.class_of is None else part.class_of[part.train_ids].clip(0)
    return np.bincount(owners * classes + known, minlength=part.num_clients * classes).reshape(-1, classes)


def _bars(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], names: list[str], colours: list[str], highest: int
) -> go.Figure:
    mean_class = (counts * np.arange(counts.shape[1])).sum(axis=1) / counts.sum(axis=1).clip(1)
    order = np.argsort(mean_class, kind="stable")
    if len(order) > MOST_BARS:
        order = order[np.linspace(0, len(order) - 1, MOST_BARS).astype(int)]
    title = "clients" if len(order) == len(counts) else f"{MOST_BARS} of {len(counts):,} clients"
    figure = chart(title, "training texts", height=240, barmode="stack", bargap=0.08)
    edge = 0.5 if len(order) <= 60 else 0
    for c, name in enumerate(names):
        figure.add_trace(
            go.Bar(
                x=list(range(len(order))),
                y=counts[order, c].tolist(),
                customdata=order.tolist(),
                name=name,
                marker={"color": colours[c], "line": {"color": PAPER, "width": edge}},
                hovertemplate=f"client %{{customdata}}<br>{name}: %{{y}} texts<extra></extra>",
            )
        )
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(range=[0, highest * 1.02])
    return figure


def _alt(counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], names: list[str], cell: str) -> str:
    sizes = counts.sum(axis=1)
    largest = (counts.max(axis=1) / sizes.clip(1)).mean()
    return (
        f"{cell}: stacked bars of {len(counts)} clients with {words.span(sizes.min(), sizes.max())} training texts in "
        f"{len(names)} {'class' if len(names) == 1 else 'classes'}; "
        f"on average {words.percent(largest)} of a client's texts are of one class."
    )


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
    """Of a second feature, and of spoiled texts, where there are any."""
    second, spoiled = measured.and_by, measured.spoiled
    more = {} if second is None else {"second feature: Jensen-Shannon (mean)": second.js_mean}
    if spoiled is not None:
        more["share of texts spoiled"] = spoiled.share
        more["least of any client"], more["most of any client"] = min(spoiled.doses), max(spoiled.doses)
    return more


def _conclusion(table: pd.DataFrame) -> str:
    means = table.set_index("partition")["Jensen-Shannon (mean)"].dropna()
    if means.empty:
        return "How unlike the clients are was not recorded."
    most, least = str(means.idxmax()), str(means.idxmin())
    first = f"Clients' class mixes are {words.number(means[most], 2)} from the pool's"
    if most == least:
        return f"{first} (Jensen-Shannon divergence, 0 to 1)."
    return f"{first} at {most} and {words.number(means[least], 2)} at {least} (Jensen-Shannon divergence, 0 to 1)."


def _warnings(runs: Runs, dealt: Mapping[str, list[str]]) -> list[str]:
    """Every warning of the first seed's partitions once, with the partitions it is of."""
    found: dict[str, list[str]] = {}
    for title, cells in dealt.items():
        measured = runs.first[cells[0]].partition.measured
        for sentence in () if measured is None else measured.warnings:
            found.setdefault(sentence, []).append(title)
    return [
        words.capital(f"{sentence}{'' if len(of) == len(dealt) else f' ({words.listed(of)})'}.")
        for sentence, of in found.items()
    ]


def _dealt(runs: Runs) -> dict[str, list[str]]:
    """The cells of every different partition, under what these have in common: strategies share their clients."""
    groups: dict[bytes, list[Run]] = {}
    for run in runs.first.values():
        part = run.partition
        groups.setdefault(part.train_ids.tobytes() + part.train_offsets.tobytes(), []).append(run)
    found = {}
    for group in groups.values():
        common = [axis for axis in runs.axes if len({run.labels[axis] for run in group}) == 1]
        apart = len(groups) > 1 and common
        title = ", ".join(f"{axis} = {group[0].labels[axis]}" for axis in common) if apart else "all runs"
        cells = [runs.cell(run.labels) for run in group]
        found[title if title not in found else words.listed(cells)] = cells
    return found
