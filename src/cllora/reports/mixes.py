"""Who holds which texts, for a terminal: the clients of a partition, and real owners."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cllora.analysis.names import feature_text, range_text
from cllora.errors import counted, visible
from cllora.partition import Estimate, FeatureSkew, Inspection, gini
from cllora.partition.heterogeneity import effective_number
from cllora.reports.alpha import at_alpha
from cllora.reports.formats import capital
from cllora.reports.sheet import Sheet
from cllora.spec import Experiment, axis_text
from cllora.types import Heterogeneity, Partition, TextClass

MOST_CLIENTS = 40
"""More clients than this are not all shown."""
BAR = 30
MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
COLOURS = ("#5b3a8c", "#31688e", "#21918c", "#35b779", "#b5de2b")
"""Backgrounds of the classes, from the first to the last; more classes share them in order."""


def partition_view(partition: Partition, experiment: Experiment) -> RenderableType:
    """Who would get what, and how skewed that really is: a row per client, the classes, a summary, and the warnings.

    A client's bar shows its class shares by the classes' numbers. Samples and tokens count training and test texts
    together; tokens as the model sees them. Where clients have contexts of their own, their texts are `cut at`
    these, and `seen` has the tokens that they see of what they train on.

    Args:
        partition: one whose heterogeneity was measured.
    """
    measured, asked = partition.heterogeneity, experiment.partition
    scheme = ", ".join([asked.scheme, *(f"{key} = {axis_text(v)}" for key, v in asked.options.items())])
    feature = feature_text(asked.by, asked.residual_on)
    second = "" if asked.and_by is None else f" and {feature_text(asked.and_by)}"
    return Group(
        Text(visible(f"{scheme}, by {feature}{second}, seed {experiment.seed}"), style="bold"),
        *_clients(measured),
        _classes(measured.classes.described, feature, medians=True),
        _summary(measured),
        *(Text(visible(f"! {capital(sentence)}."), style="yellow") for sentence in measured.warnings),
    )


def inspection_view(inspected: Inspection, sentences: Sequence[str]) -> RenderableType:
    """The owners, the classes of every feature, how unlike the owners are, and sentences on it.

    An owner's bar shows its shares of the first feature's classes by their numbers. Of many owners the largest and
    the smallest are shown.
    """
    owners = f"{counted(len(inspected.names), 'owner')}, {counted(int(inspected.texts.sum()), 'text')}"
    return Group(
        Text(owners, style="bold"),
        *_owners(inspected),
        *(_classes(skew.heterogeneity.classes.described, feature_text(skew.by)) for skew in inspected.features),
        _alphas(inspected),
        _unlikeness(inspected.features),
        _sizes(inspected),
        *(Text(visible(sentence)) for sentence in sentences),
    )


def _clients(measured: Heterogeneity) -> Iterator[RenderableType]:
    clients, doses = measured.clients, measured.corrupted
    more = {} if doses is None else {"corrupted": [f"{dose:.0%}" for dose in doses.doses]}
    for heading, column in (("cut at", clients.contexts), ("seen", clients.tokens_in_context)):
        more |= {} if column is None else {heading: [f"{tokens:,}" for tokens in column]}
    names = clients.names or [str(k) for k in range(len(clients.samples))]
    shown = shown_clients(clients.samples, clients.tokens)
    rows: list[list[str | Text]] = [
        [
            names[k],
            f"{clients.samples[k]:,}",
            f"{clients.tokens[k]:,}",
            bar(clients.class_shares[k]),
            f"{clients.js[k]:.2f}",
            *(column[k] for column in more.values()),
        ]
        for k in shown
    ]
    yield Sheet(["client", "samples", "tokens", "classes", "JS", *more], rows, widest=20, left=[3])
    yield from _of_many(len(shown), len(names), "clients")


def _owners(inspected: Inspection) -> Iterator[RenderableType]:
    clients = inspected.features[0].heterogeneity.clients
    shown = shown_clients(inspected.texts.tolist(), inspected.characters.tolist())
    rows: list[list[str | Text]] = [
        [
            inspected.names[k],
            *(f"{of[k]:,.0f}" for of in (inspected.texts, inspected.characters, inspected.median_characters)),
            bar(clients.class_shares[k]),
            f"{clients.js[k]:.2f}",
        ]
        for k in shown
    ]
    yield Sheet(["owner", "texts", "characters", "median", "classes", "JS"], rows, widest=14, left=[4])
    yield from _of_many(len(shown), len(inspected.names), "owners")


def _of_many(shown: int, every: int, noun: str) -> Iterator[Text]:
    if shown < every:
        yield Text(f"The {shown // 2} largest and {shown // 2} smallest of {every:,} {noun}.", style="dim")


def shown_clients(samples: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """All clients in order, or of many the largest and the smallest, by samples and then tokens."""
    order: list[int] = np.lexsort((tokens, samples))[::-1].tolist()
    if len(order) <= MOST_CLIENTS:
        return sorted(order)
    half = MOST_CLIENTS // 2
    return [*order[:half], *order[-half:]]


def bar(shares: Sequence[float]) -> Text:
    """`BAR` characters, each class's number as often as its share says (rounded where the classes meet)."""
    ends = np.rint(np.cumsum(shares) * BAR).astype(int)
    bar = Text()
    for c, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        bar.append(MARKS[c % len(MARKS)] * int(end - start), style=_class_style(c, len(shares)))
    return bar


def _class_style(c: int, classes: int) -> str:
    background = COLOURS[c * len(COLOURS) // max(classes, 1)]
    return f"{'black' if background in COLOURS[3:] else 'white'} on {background}"


def _classes(described: Sequence[TextClass], feature: str, medians: bool = False) -> Sheet:
    """Which number is which class: its range of the feature, its texts, and the median of what the model sees of
    them."""
    rows: list[list[str | Text]] = []
    for c, one in enumerate(described):
        mark = Text(f" {MARKS[c % len(MARKS)]} ", style=_class_style(c, len(described)))
        rows.append([mark, range_text(one), f"{one.samples:,}", *([f"{one.median_tokens:.0f}"] if medians else [])])
    return Sheet(["class", feature, "texts", *(["median tokens"] if medians else [])], rows)


def _summary(measured: Heterogeneity) -> Table:
    samples, tokens, between = measured.samples, measured.tokens, measured.variance_between
    second, corrupted = measured.and_by, measured.corrupted
    rows = {
        "class mixes, mean Jensen-Shannon divergence": f"{measured.js_mean:.3f}",
        "class mixes, mean total variation": f"{measured.tv_mean:.3f}",
        "second feature, mean Jensen-Shannon divergence": None if second is None else f"{second.js_mean:.3f}",
        "texts corrupted": None if corrupted is None else f"{corrupted.share:.1%}",
        "largest class share, mean": f"{measured.largest_class_share_mean:.2f}",
        "Gini of samples / tokens": f"{samples.gini:.3f} / {tokens.gini:.3f}",
        "effective clients by samples / tokens": f"{samples.effective_clients:.1f} / {tokens.effective_clients:.1f}",
        "smallest client, samples / tokens": f"{samples.min:,} / {tokens.min:,}",
        "largest client, samples / tokens": f"{samples.max:,} / {tokens.max:,}",
        "share of variance between clients: of the feature": f"{between.values:.3f}",
        "  of log(1 + feature)": None if between.log1p is None else f"{between.log1p:.3f}",
        "  of the tokens seen": f"{between.tokens:.3f}",
        "  of any of them, on average, in a random deal": f"{between.chance:.3f}",
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    for what, value in rows.items():
        if value is not None:
            table.add_row(what, value)
    return table


def _alphas(inspected: Inspection) -> Sheet:
    estimates = {"quantity": inspected.quantity, **{feature_text(skew.by): skew.alpha for skew in inspected.features}}
    rows = [(name, *_estimate(estimate)) for name, estimate in estimates.items()]
    return Sheet(["skew of", "alpha", "95 % from", "to"], rows, words=True)


def _estimate(estimate: Estimate | None) -> Sequence[str]:
    if estimate is None:
        return "–", "–", "–"
    return [at_alpha(alpha) for alpha in (estimate.alpha, estimate.low, estimate.high)]


def _unlikeness(skews: Sequence[FeatureSkew]) -> Sheet:
    """A row per feature; `chance` is the variance between owners of a random deal."""
    rows = []
    for skew in skews:
        measured, between = skew.heterogeneity, skew.heterogeneity.variance_between
        mixes = measured.js_mean, measured.tv_mean, measured.largest_class_share_mean
        rows.append([feature_text(skew.by), *(f"{x:.3f}" for x in (*mixes, between.values, between.chance))])
    headings = ["class mixes", "JS", "total variation", "largest share", "variance between", "chance"]
    return Sheet(headings, rows, words=True)


def _sizes(inspected: Inspection) -> Sheet:
    rows = []
    for name, amounts in (("texts", inspected.texts), ("characters", inspected.characters)):
        ends = [f"{amount:,.0f}" for amount in (amounts.min(), np.median(amounts), amounts.max())]
        rows.append([name, f"{gini(amounts):.3f}", f"{effective_number(amounts):,.1f}", *ends])
    return Sheet(["owners' sizes", "Gini", "effective owners", "smallest", "median", "largest"], rows, words=True)
