"""The first thing read: what was asked, and the answer in plain words with its main figure and numbers."""

import math
from dataclasses import dataclass, replace

from cllora.analysis import Results, typed, with_chance
from cllora.errors import counted
from cllora.metrics.formats import ends, listed, number, percent
from cllora.reports.columns import column
from cllora.reports.facts import Answers, Change, Comparison, Fact, Statement, carried_by_few, effect, largest
from cllora.reports.say import interval
from cllora.reports.section import Forest, Section
from cllora.reports.sections.global_loss import global_loss
from cllora.spec import PRIMARY

MOST_ROWS = 12
"""Comparisons that the first figure has room for."""


@dataclass(frozen=True)
class Answer:
    """A question, its answer in short (or nothing), and a section with what there is to say of it and the main figure.

    numbers: those to remember: (number, what it is).
    """

    question: str
    headline: Fact | None
    section: Section
    numbers: tuple[tuple[str, str], ...]


def answer(results: Results) -> Answer:
    """How much does what was varied change the result? In a study of one cell: what did training bring?"""
    saved, others = _saved(results), (*_of_different_data(results), *_unfinished(results))
    if len(results.cells) == 1:
        section = replace(_main(results), facts=(*_one_cell(results), *others))
        return Answer("What did training bring?", None, section, (*_change(results, results.cells[0]), *saved))
    chosen = largest(results.contrasts(PRIMARY))
    numbers = [] if chosen is None else [(column(PRIMARY).signed(chosen.contrast.difference), _pair_of(chosen))]
    cell = [*results.controls, *results.cells][0] if chosen is None else chosen.contrast.cell
    few = carried_by_few(results, PRIMARY)
    facts = (effect(results, PRIMARY), *few, *_of_the_gain(results, chosen), *others)
    section = replace(_main(results), facts=facts)
    return Answer(_question(results), _headline(results), section, (*numbers, *_change(results, cell), *saved))


def _question(results: Results) -> str:
    axes = listed(list(results.axes))
    if all(path.startswith("partition.") for path in results.axes.values()):
        return f"How much does the skew ({axes}) hurt?"
    return f"How much {'does' if len(results.axes) == 1 else 'do'} {axes} matter?"


def _headline(results: Results) -> Fact | None:
    rows = typed(results.contrasts(PRIMARY).dropna(subset=["difference"]))
    return Answers(PRIMARY, tuple(rows)) if rows else None


def _main(results: Results) -> Section:
    """Every cell against the control in the primary metric; where there is nothing to compare, the global loss."""
    rows = results.contrasts(PRIMARY).dropna(subset=["difference"])
    if rows.empty:
        curves = global_loss(results)
        assert isinstance(curves, Section)
        return replace(curves, figures=curves.figures[:1])
    title = column(PRIMARY).title
    if len(rows) > MOST_ROWS:
        title += f": the {MOST_ROWS} largest of {len(rows)} differences"
        rows = rows.loc[rows["difference"].abs().nlargest(MOST_ROWS).index.sort_values()]
    return Section((), (Forest(with_chance(results, rows), title=title.capitalize()),))


def _pair_of(chosen: Comparison) -> str:
    row = chosen.contrast
    return f"{column(row.metric).unit}: {row.cell} against {row.against} ({interval(chosen)})"


def _change(results: Results, cell: str) -> list[tuple[str, str]]:
    """The gain of training for the clients of one cell: for all of them, and for the tenth that it helped least.

    Without texts of the clients' own to test on, what it did on the global test set.
    """
    means = results.averaged[results.averaged["cell"] == cell].mean(numeric_only=True)
    where = {
        "change_mean": "mean over clients, on their own test texts",
        "change_worst_tenth": "the worst tenth of clients, on their own test texts",
    }
    if math.isnan(means["change_mean"]):
        where = {"change": "on the global test set"}
    subject = f"nats per token: change of loss by training at {cell}"
    measured = {metric: text for metric, text in where.items() if not math.isnan(means[metric])}
    return [(column(metric).signed(means[metric]), f"{subject}, {text}") for metric, text in measured.items()]


def _saved(results: Results) -> list[tuple[str, str]]:
    """The share of the communication saved; from the least to the most where cells differ in it."""
    shares = results.averaged.groupby("cell")["saved"].mean().dropna()
    if shares.empty:
        return []
    return [
        (ends(shares, percent).replace(" % to ", " to "), "of the communication saved against sending the full model")
    ]


def _of_different_data(results: Results) -> list[Fact]:
    kinds = len({run.fingerprint for run in results.members})
    if kinds == 1:
        return []
    text = f"The runs are on {kinds} different sets of data; only runs on the same data are compared."
    return [Statement(text, {"sets of data": kinds})]


def _unfinished(results: Results) -> list[Fact]:
    whole, wanted = sum(run.finished for run in results.members), len(results.members) + len(results.missing)
    if whole == wanted:
        return []
    failed = f"; {len(results.failed)} failed, see Design" if results.failed else ""
    text = f"Not all is finished: {whole} of {counted(wanted, 'run')}{failed}."
    return [Statement(text, {"finished": whole, "runs": wanted, "failed": len(results.failed)})]


def _one_cell(results: Results) -> list[Fact]:
    """The change of the global loss, over all seeds of the only cell."""
    mean = results.averaged.mean(numeric_only=True)
    if math.isnan(mean["change"]) or mean["rounds"] == 0:
        return [Statement("Nothing was trained yet.")]
    over = f"{number(mean['rounds'], 0)} rounds, {counted(len(results.averaged), 'seed')}"
    return [
        Change(PRIMARY, float(mean["base_loss"]), float(mean[PRIMARY])),
        Statement(f"That is of {over}; there is one cell only, so nothing to compare it with."),
    ]


def _of_the_gain(results: Results, chosen: Comparison | None) -> list[Fact]:
    """The main difference as a share of what training gained in the control, so that it has a scale."""
    if chosen is None or (chosen.contrast.seeds > 1 and not chosen.clear):
        return []
    row = chosen.contrast
    gain = -float(results.averaged.loc[results.averaged["cell"] == row.control, "change"].mean())
    ratio = math.expm1(row.difference)
    perplexity = f"a perplexity {percent(abs(ratio))} {'higher' if ratio > 0 else 'lower'}"
    if not gain > 0:
        text = f"That is {perplexity}. Training itself did not lower the loss at {row.control}."
        return [Statement(text, {"perplexity": ratio})]
    share = abs(row.difference) / gain
    text = (
        f"That is {perplexity}, and {percent(share)} of the {column(PRIMARY).with_unit(gain)} that training gained at"
    )
    return [Statement(f"{text} {row.control}.", {"perplexity": ratio, "share of the gain": share})]
