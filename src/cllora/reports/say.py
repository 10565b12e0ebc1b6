"""Facts as sentences. No sentence here says more than the data does."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import singledispatch

from cllora.analysis import Contrast, seeds_text
from cllora.errors import counted
from cllora.metrics import metrics
from cllora.metrics.formats import capital, level, listed, number
from cllora.reports.columns import cell, column
from cllora.reports.facts import (
    Answers,
    CarriedByFew,
    Change,
    Comparison,
    Count,
    Fact,
    NotMeasured,
    Range,
    Share,
    Statement,
    Tally,
    Trend,
)
from cllora.stats import MOST_SEEDS

SHOWS = {"differs": "differs", "equivalent": "equivalent", "undecided": "not enough seeds to tell"}
"""The possible results of a comparison in words."""
MOST_NAMES = 4
"""Cells that one sentence names."""


@singledispatch
def say(fact: Fact) -> str:
    """One sentence."""
    raise TypeError(f"{fact!r} is no fact")


@say.register
def _(fact: Statement) -> str:
    return fact.text


@say.register
def _(fact: NotMeasured) -> str:
    subject = _subject(fact.quantity)
    if not fact.asked:
        return f"Not asked for: {column(fact.quantity).title}."
    if fact.why:
        return f"{fact.why}, so nothing is known of {subject}."
    return capital(f"{_apposed(subject)} was not measured.")


@say.register
def _(fact: Comparison) -> str:
    row, metric = fact.contrast, column(fact.contrast.metric)
    subject, digits = _subject(row.metric, fact.part), digits_of(fact)
    among = f"the largest {'clear one ' if fact.clear else ''}of {row.comparisons}" if row.comparisons > 1 else ""
    mean = f"{metric.written(row.mean, digits)} {metric.unit}".rstrip()
    was = f"was {mean} at {row.cell}, {_apart(row, digits)} at {row.against}"
    if row.seeds < 2:
        return (
            f"One seed cannot tell whether {_apposed(subject)} differs: it {was}{among and f', {among} comparisons'}."
        )
    doubt = f"{among}; {interval(fact)}" if among else interval(fact)
    if not fact.clear:
        return f"No clear difference in {subject}: it {was} ({doubt}); {row.answer}."
    return capital(f"{_apposed(subject)} {was} ({doubt}).")


@say.register
def _(fact: CarriedByFew) -> str:
    row, metric = fact.contrast, column(fact.contrast.metric)
    higher = metrics.metric(row.metric).better == "higher"
    many, worst = (row.seeds - row.above, row.least) if higher else (row.above, row.most)
    mean, typical, furthest = (metric.signed(x) for x in (row.mean_difference, row.difference, worst))
    return (
        f"Few seeds carry the mean of the difference at {row.cell}: it is {mean}, the typical one {typical}; {many} of "
        f"{row.seeds} seeds were worse, the worst by {furthest}."
    )


def _subject(metric: str, part: str = "") -> str:
    return f"the {column(metric).title.removeprefix('the ')}{f' on {part}' if part else ''}"


def _apposed(subject: str) -> str:
    """A subject before its verb: one with a comma in it, brackets apart, ends in one."""
    return f"{subject}," if "," in re.sub(r"\(.*?\)", "", subject) else subject


def _apart(row: Contrast, digits: int) -> str:
    metric, size = column(row.metric), abs(row.difference)
    if metric.decimals and round(size, digits) == 0:
        return f"the same to {digits} decimals as"
    return f"{metric.written(size, digits)} {'higher' if row.difference > 0 else 'lower'} than"


def digits_of(fact: Comparison) -> int:
    """Decimals: three, or as many as it takes to tell the ends of an interval that leaves out zero from zero."""
    if not fact.clear:
        return 3
    return _digits(min(abs(fact.contrast.low_holm), abs(fact.contrast.high_holm)))


def _digits(size: float) -> int:
    """Decimals that tell a size from zero: three to six."""
    return max(3, min(6, 1 - math.floor(math.log10(size)))) if size else 3


def interval(fact: Comparison) -> str:
    """The interval and the seeds of a comparison, or that there is one seed only."""
    row = fact.contrast
    if row.seeds < 2:
        return "one seed: no interval"
    over = f" over all {row.comparisons} comparisons" if row.comparisons > 1 else ""
    if math.isnan(row.low_holm):
        return f"{row.seeds} seeds are too few for a {level(row.level)} interval{over}"
    low, high = (column(row.metric).signed(end, digits_of(fact)) for end in (row.low_holm, row.high_holm))
    seeds = "only 2 seeds" if row.seeds == 2 else f"{row.seeds} seeds"
    return f"{level(row.level)} interval{over} {low} to {high}, {seeds}"


def pair(row: Contrast) -> str:
    """A comparison by itself in few words."""
    show = column(row.metric).signed
    doubt = "one seed: no interval"
    if row.seeds > 1:
        doubt = f"{level(row.level)} interval {show(row.low)} to {show(row.high)}, {counted(row.seeds, 'seed')}"
    return f"{row.cell} against {row.against}: {show(row.difference)} ({doubt}), {row.answer}"


@say.register
def _(fact: Answers) -> str:
    """The cells that differ, those that make no difference, and those of which it cannot be told."""
    every = fact.contrasts
    if max(row.seeds for row in every) < 2:
        return "One seed cannot tell: run more seeds before you believe a difference."
    parts = []
    for way, sign in (("higher", 1), ("lower", -1)):
        rows = [row for row in every if row.shows == "differs" and sign * row.difference > 0]
        if rows:
            metric, most = column(fact.metric), max(abs(row.difference) for row in rows)
            by = f"by {'' if len(rows) == 1 else 'up to '}{metric.written(most, _digits(most))} {metric.unit}".rstrip()
            parts.append(f"{_apposed(_subject(fact.metric))} is {way} at {_named(rows, len(every))} ({by})")
    same, undecided = ([row for row in every if row.shows == shows] for shows in ("equivalent", "undecided"))
    if same:
        parts.append(f"no difference worth naming at {_named(same, len(every))}")
    if undecided:
        parts.append(f"{SHOWS['undecided']} at {_named(undecided, len(every))}{_needed(undecided)}")
    return capital(f"{'; '.join(parts)}.")


def _named(rows: Sequence[Contrast], total: int) -> str:
    """The cells of some comparisons of `total`; a name with a comma in it stands in brackets."""
    if len(rows) == total > MOST_NAMES:
        return f"all {total} other cells"
    names = [f"({row.cell})" if ", " in row.cell else row.cell for row in rows[:MOST_NAMES]]
    more = len(rows) - len(names)
    return listed([*names, f"{more} more"] if more else names)


def _needed(rows: Sequence[Contrast]) -> str:
    """The number of seeds that it would take: of all these comparisons, from the least to the most."""
    few = [row for row in rows if row.needed <= MOST_SEEDS]
    if not few:
        return ""
    least, most = min(row.needed for row in few), max(row.needed_most for row in few)
    return f" ({seeds_text(least, most)} needed)"


@say.register
def _(fact: Range) -> str:
    subject, metric = _apposed(_subject(fact.metric)), column(fact.metric)
    ends = sorted(fact.values, key=lambda name: fact.values[name])
    (low, least), (high, most) = ((name, fact.values[name]) for name in (ends[0], ends[-1]))
    if len(ends) == 1:
        return capital(f"{subject} was {metric.with_unit(least)}; there is nothing to compare it with.")
    reason = f"; {fact.reason}" if fact.reason else ""
    if metric.show(least) == metric.show(most):
        return capital(f"{subject} was {metric.with_unit(most)} everywhere{reason}.")
    return capital(f"{subject} ran from {metric.show(least)} ({low}) to {metric.with_unit(most)} ({high}){reason}.")


@say.register
def _(fact: Change) -> str:
    most = f", most at {fact.most[0]}: {cell(fact.most[1], fact.metric)}" if fact.most else ""
    before, after = (cell(value, fact.metric) for value in (fact.before, fact.after))
    if isinstance(fact.after, Share):
        return f"{capital(column(fact.metric).title)} before training: {before}; after: {after}{most}."
    unit = column(fact.metric).unit
    return capital(
        f"{_apposed(_subject(fact.metric))} went from {before} to {after}{f' {unit}' if unit else ''}{most}."
    )


@say.register
def _(fact: Count) -> str:
    most = f", most often at {fact.most[0]} ({cell(fact.most[1], '')})" if fact.most else ""
    return f"{fact.share.n:,} of {counted(fact.share.total, fact.noun)} {fact.verb}{most}."


@say.register
def _(fact: Tally) -> str:
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in fact.kinds.items())
    return f"{counted(fact.total, fact.noun)}{fact.among}: {kinds}."


@say.register
def _(fact: Trend) -> str:
    if math.isnan(fact.low):
        return f"Too little varies at {fact.where}, to say whether {fact.y} goes with {fact.x}."
    doubt = (
        f"Spearman's rho {number(fact.rho, 2)}, 95 % interval {number(fact.low, 2)} to {number(fact.high, 2)}, "
        f"{counted(fact.pairs, 'pair')} of {counted(fact.clients, 'client')}"
    )
    if fact.low <= 0 <= fact.high:
        return f"It cannot be told at {fact.where}, whether {fact.y} goes with {fact.x} ({doubt})."
    way = "grows" if fact.low > 0 else "shrinks"
    return capital(f"{fact.y} {way} with {fact.x} at {fact.where} ({doubt}).")


def places(values: Mapping[str, float], metric: str) -> str:
    """Numbers at places in a few words: `0.1 at alpha = 1, 0.2 at alpha = iid`."""
    show = column(metric).show
    return ", ".join(f"{show(value)} at {place}" for place, value in values.items() if not math.isnan(value))
