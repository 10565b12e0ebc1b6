"""Partitions and real owners for a terminal: who holds which texts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cllora.analysis.names import feature_text, range_text
from cllora.errors import counted, visible
from cllora.metrics.formats import capital
from cllora.partition import Inspection, gini
from cllora.partition.heterogeneity import effective_number
from cllora.reports.alpha import at_alpha
from cllora.reports.sheet import Sheet
from cllora.spec import Experiment, axis_text
from cllora.types import ClientMeasures, Heterogeneity, Partition, TextClass

MOST_CLIENTS = 40
"""More clients than this are not all shown."""
BAR = 30
MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
COLOURS = ("#5b3a8c", "#31688e", "#21918c", "#35b779", "#b5de2b")
"""Backgrounds of the classes, from the first to the last; more classes share them in order."""


def partition_view(partition: Partition, experiment: Experiment) -> RenderableType:
    """A partition and how skewed it really is: a row per client, the classes, a summary, and the warnings.

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
        _unlikeness(inspected),
        _sizes(inspected),
        *(Text(visible(sentence)) for sentence in sentences),
    )


def _clients(measured: Heterogeneity) -> Iterator[RenderableType]:
    clients, doses = measured.clients, measured.corrupted
    more = {} if doses is None else {"corrupted": [f"{dose:.0%}" for dose in doses.doses]}
    for heading, tokens in (("cut at", clients.contexts), ("seen", clients.tokens_in_context)):
        more |= {} if tokens is None else {heading: [f"{many:,}" for many in tokens]}
    names = clients.names or [str(k) for k in range(len(clients.samples))]
    sizes = {"samples": clients.samples, "tokens": clients.tokens}
    yield from _holders("client", names, sizes, clients, more, widest=20)


def _owners(inspected: Inspection) -> Iterator[RenderableType]:
    amounts = inspected.texts, inspected.characters, inspected.median_characters
    sizes = dict(zip(("texts", "characters", "median"), (column.tolist() for column in amounts), strict=True))
    yield from _holders("owner", inspected.names, sizes, inspected.features[0].heterogeneity.clients, {}, widest=14)


def _holders(
    noun: str,
    names: Sequence[str],
    sizes: Mapping[str, Sequence[float]],
    clients: ClientMeasures,
    more: Mapping[str, Sequence[str]],
    widest: int,
) -> Iterator[RenderableType]:
    """A row for each of those who hold texts, or of many for the largest and the smallest, by the first two sizes."""
    samples, tokens, *_ = sizes.values()
    shown = shown_clients(samples, tokens)
    columns: dict[str, Sequence[str | Text]] = {
        noun: names,
        **{heading: [f"{size:,.0f}" for size in amounts] for heading, amounts in sizes.items()},
        "classes": [bar(shares) for shares in clients.class_shares],
        "JS": [f"{js:.2f}" for js in clients.js],
        **more,
    }
    rows = {heading: [cells[k] for k in shown] for heading, cells in columns.items()}
    yield Sheet(rows, widest=widest, left=["classes"])
    if len(shown) < len(names):
        half = len(shown) // 2
        yield Text(f"The {half} largest and {half} smallest of {len(names):,} {noun}s.", style="dim")


def shown_clients(samples: Sequence[float], tokens: Sequence[float]) -> list[int]:
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
    """The classes by number: the range of the feature, the texts, and the median of what the model sees of them."""
    many = len(described)
    columns: dict[str, Sequence[str | Text]] = {
        "class": [Text(f" {MARKS[c % len(MARKS)]} ", style=_class_style(c, many)) for c in range(many)],
        feature: [range_text(text_class) for text_class in described],
        "texts": [f"{text_class.samples:,}" for text_class in described],
    }
    if medians:
        columns["median tokens"] = [f"{text_class.median_tokens:.0f}" for text_class in described]
    return Sheet(columns)


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
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, value)
    return table


def _alphas(inspected: Inspection) -> Sheet:
    """A row per skew: the likeliest alpha, and of features the one that is as unlike, each with its interval."""
    names = ["quantity", *(feature_text(skew.by) for skew in inspected.features)]
    likeliest = [inspected.quantity, *(skew.alpha for skew in inspected.features)]
    as_unlike = [None, *(skew.as_unlike for skew in inspected.features)]
    columns = {
        "likeliest alpha": (likeliest, "alpha"),
        "95 % from": (likeliest, "low"),
        "to": (likeliest, "high"),
        "as unlike": (as_unlike, "alpha"),
        "from": (as_unlike, "low"),
        "to ": (as_unlike, "high"),
    }
    texts = {
        heading: ["–" if estimate is None else at_alpha(getattr(estimate, end)) for estimate in estimates]
        for heading, (estimates, end) in columns.items()
    }
    return Sheet({"skew of": names, **texts}, words=True)


def _unlikeness(inspected: Inspection) -> Sheet:
    """A row per feature; `chance` is the variance between owners of a random deal."""
    measured = [skew.heterogeneity for skew in inspected.features]
    numbers = {
        "JS": [owners.js_mean for owners in measured],
        "total variation": [owners.tv_mean for owners in measured],
        "largest share": [owners.largest_class_share_mean for owners in measured],
        "variance between": [owners.variance_between.values for owners in measured],
        "chance": [owners.variance_between.chance for owners in measured],
    }
    texts = {heading: [f"{x:.3f}" for x in column] for heading, column in numbers.items()}
    return Sheet({"class mixes": [feature_text(skew.by) for skew in inspected.features], **texts}, words=True)


def _sizes(inspected: Inspection) -> Sheet:
    amounts = [inspected.texts, inspected.characters]
    columns = {
        "owners' sizes": ["texts", "characters"],
        "Gini": [f"{gini(sizes):.3f}" for sizes in amounts],
        "effective owners": [f"{effective_number(sizes):,.1f}" for sizes in amounts],
        "smallest": [f"{sizes.min():,.0f}" for sizes in amounts],
        "median": [f"{np.median(sizes):,.0f}" for sizes in amounts],
        "largest": [f"{sizes.max():,.0f}" for sizes in amounts],
    }
    return Sheet(columns, words=True)
