"""What was found of real owners, for a terminal of 80 columns."""

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cllora.partition import Estimate, FeatureSkew, Inspection, gini
from cllora.partition.heterogeneity import effective_number
from cllora.reports.labels import feature_text, range_text
from cllora.reports.terminal import MARKS, MOST_CLIENTS, bar, class_style, shown_clients
from cllora.reports.words import count
from cllora.reports.yardstick import at_alpha


def inspection_view(found: Inspection, said: Sequence[str]) -> RenderableType:
    """The owners, the classes of every feature, how unlike the owners are, and the sentences that `said` has of it.

    An owner's bar shows its shares of the first feature's classes by their numbers. Of many owners the largest and
    the smallest are shown.
    """
    shown = shown_clients({"samples": found.texts.tolist(), "tokens": found.characters.tolist()})
    parts: list[RenderableType] = [
        Text(f"{count(len(found.names), 'owner')}, {count(int(found.texts.sum()), 'text')}", style="bold"),
        _owners(found, shown),
    ]
    if len(shown) < len(found.names):
        half = MOST_CLIENTS // 2
        parts.append(Text(f"The {half} largest and {half} smallest of {len(found.names):,} owners.", style="dim"))
    parts += [_classes(skew) for skew in found.features]
    parts += [_alphas(found), _features(found.features), _sizes(found)]
    parts += [Text(sentence) for sentence in said]
    return Group(*parts)


def _table(*headings: str) -> Table:
    """A table whose first column is words and whose others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table


def _owners(found: Inspection, shown: Sequence[int]) -> Table:
    clients = found.features[0].realised["clients"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("owner", overflow="ellipsis", max_width=14)
    for heading in ("texts", "characters", "median"):
        table.add_column(heading, justify="right")
    table.add_column("classes", no_wrap=True)
    table.add_column("JS", justify="right")
    for k in shown:
        table.add_row(
            Text(found.names[k]),
            f"{found.texts[k]:,}",
            f"{found.characters[k]:,}",
            f"{found.median_characters[k]:,.0f}",
            bar(clients["class_shares"][k]),
            f"{clients['js'][k]:.2f}",
        )
    return table


def _classes(skew: FeatureSkew) -> Table:
    described = skew.realised["classes"]["described"]
    table = _table("class", feature_text(skew.by), "texts")
    for c, one in enumerate(described):
        mark = Text(f" {MARKS[c % len(MARKS)]} ", style=class_style(c, len(described)))
        table.add_row(mark, range_text(one), f"{one['samples']:,}")
    return table


def _alphas(found: Inspection) -> Table:
    table = _table("skew of", "alpha", "95 % from", "to")
    estimates = [("quantity", found.quantity), *((feature_text(skew.by), skew.alpha) for skew in found.features)]
    for name, estimate in estimates:
        table.add_row(Text(name), *_estimate(estimate))
    return table


def _estimate(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return "–", "–", "–"
    return at_alpha(estimate.alpha), at_alpha(estimate.low), at_alpha(estimate.high)


def _features(skews: Sequence[FeatureSkew]) -> Table:
    """The measures of unlikeness, a row per feature; `chance` is the variance between owners of a random deal."""
    table = _table("class mixes", "JS", "total variation", "largest share", "variance between", "chance")
    for skew in skews:
        found, between = skew.realised, skew.realised["variance_between"]
        numbers = found["js_mean"], found["tv_mean"], found["largest_class_share_mean"]
        table.add_row(
            Text(feature_text(skew.by)),
            *(f"{number:.3f}" for number in (*numbers, between["values"], between["chance"])),
        )
    return table


def _sizes(found: Inspection) -> Table:
    table = _table("owners' sizes", "Gini", "effective owners", "smallest", "median", "largest")
    for name, amounts in (("texts", found.texts), ("characters", found.characters)):
        ends = amounts.min(), np.median(amounts), amounts.max()
        effective = f"{effective_number(amounts):,.1f}"
        table.add_row(name, f"{gini(amounts):.3f}", effective, *(f"{amount:,.0f}" for amount in ends))
    return table
