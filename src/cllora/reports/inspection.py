"""What was found of real owners, for a terminal."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cllora.errors import visible
from cllora.partition import Estimate, FeatureSkew, Inspection, gini
from cllora.partition.heterogeneity import effective_number
from cllora.reports.labels import feature_text, range_text
from cllora.reports.sheet import Sheet
from cllora.reports.terminal import MARKS, MOST_CLIENTS, bar, class_style, shown_clients
from cllora.reports.words import count
from cllora.reports.yardstick import at_alpha


def inspection_view(found: Inspection, said: Sequence[str]) -> RenderableType:
    """The owners, the classes of every feature, how unlike the owners are, and the sentences that `said` has of it.

    An owner's bar shows its shares of the first feature's classes by their numbers. Of many owners the largest and
    the smallest are shown.
    """
    shown = shown_clients(found.texts.tolist(), found.characters.tolist())
    parts: list[RenderableType] = [
        Text(f"{count(len(found.names), 'owner')}, {count(int(found.texts.sum()), 'text')}", style="bold"),
        _owners(found, shown),
    ]
    if len(shown) < len(found.names):
        half = MOST_CLIENTS // 2
        parts.append(Text(f"The {half} largest and {half} smallest of {len(found.names):,} owners.", style="dim"))
    parts += [_classes(skew) for skew in found.features]
    parts += [_alphas(found), _features(found.features), _sizes(found)]
    parts += [Text(visible(sentence)) for sentence in said]
    return Group(*parts)


def _table(*headings: str, rows: Sequence[Sequence[str | Text]]) -> Sheet:
    """A table whose first column is words and whose others are numbers."""
    return Sheet(headings, rows, words=True)


def _owners(found: Inspection, shown: Sequence[int]) -> Sheet:
    clients = found.features[0].heterogeneity.clients
    rows: list[list[str | Text]] = [
        [
            found.names[k],
            f"{found.texts[k]:,}",
            f"{found.characters[k]:,}",
            f"{found.median_characters[k]:,.0f}",
            bar(clients.class_shares[k]),
            f"{clients.js[k]:.2f}",
        ]
        for k in shown
    ]
    return Sheet(["owner", "texts", "characters", "median", "classes", "JS"], rows, widest=14, left=[4])


def _classes(skew: FeatureSkew) -> Sheet:
    described = skew.heterogeneity.classes.described
    rows: list[list[str | Text]] = []
    for c, one in enumerate(described):
        mark = Text(f" {MARKS[c % len(MARKS)]} ", style=class_style(c, len(described)))
        rows.append([mark, range_text(one), f"{one.samples:,}"])
    return Sheet(["class", feature_text(skew.by), "texts"], rows)


def _alphas(found: Inspection) -> Sheet:
    estimates = [("quantity", found.quantity), *((feature_text(skew.by), skew.alpha) for skew in found.features)]
    rows = [(name, *_estimate(estimate)) for name, estimate in estimates]
    return _table("skew of", "alpha", "95 % from", "to", rows=rows)


def _estimate(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return "–", "–", "–"
    return at_alpha(estimate.alpha), at_alpha(estimate.low), at_alpha(estimate.high)


def _features(skews: Sequence[FeatureSkew]) -> Sheet:
    """The measures of unlikeness, a row per feature; `chance` is the variance between owners of a random deal."""
    rows = []
    for skew in skews:
        measured, between = skew.heterogeneity, skew.heterogeneity.variance_between
        mixes = measured.js_mean, measured.tv_mean, measured.largest_class_share_mean
        numbers = *mixes, between.values, between.chance
        rows.append((feature_text(skew.by), *(f"{number:.3f}" for number in numbers)))
    headings = "JS", "total variation", "largest share", "variance between", "chance"
    return _table("class mixes", *headings, rows=rows)


def _sizes(found: Inspection) -> Sheet:
    rows = []
    for name, amounts in (("texts", found.texts), ("characters", found.characters)):
        ends = amounts.min(), np.median(amounts), amounts.max()
        effective = f"{effective_number(amounts):,.1f}"
        rows.append((name, f"{gini(amounts):.3f}", effective, *(f"{amount:,.0f}" for amount in ends)))
    return _table("owners' sizes", "Gini", "effective owners", "smallest", "median", "largest", rows=rows)
