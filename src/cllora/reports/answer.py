"""The first thing read: what was asked, and the answer in plain words with its main numbers."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cllora.reports import words
from cllora.reports.runs import Runs


@dataclass(frozen=True)
class Answer:
    """A question, the sentences that answer it, and the numbers to remember: (number, what it is)."""

    question: str
    sentences: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]


def answer(runs: Runs) -> Answer:
    """How much does what was varied change the result? In a study of one cell: what did training bring?"""
    mean = runs.outcomes.mean(numeric_only=True)
    saved = (words.percent(mean["saved"]), "of the communication saved against sending the full model")
    known = [saved] if saved[0] != "–" else []
    if len(runs.cells) == 1:
        return Answer("What did training bring?", (_one_cell(runs),), (*_change(runs, runs.cells), *known))
    axes = words.listed(list(runs.axes))
    verb = "does" if len(runs.axes) == 1 else "do"
    skew = all(path.startswith("partition.") for path in runs.axes.values())
    question = f"How much does the skew ({axes}) hurt?" if skew else f"How much {verb} {axes} matter?"
    row = words.largest(runs.contrasts("final_loss"))
    if row is None:
        main, cells = [], runs.controls or runs.cells[:1]
    else:
        main, cells = [(words.signed(row["difference"]), _what(row))], [str(row["control"]), str(row["cell"])]
    sentences = [words.effect(runs, "final_loss", "the final global loss"), _of_the_gain(runs), _unfinished(runs)]
    return Answer(question, tuple(s for s in sentences if s), (*main, *_change(runs, cells), *known))


def _unfinished(runs: Runs) -> str:
    whole = sum(run.finished for run in runs.members)
    wanted = len(runs.members) + len(runs.missing)
    return "" if whole == wanted else f"This study is not finished: {whole} of {words.count(wanted, 'run')} are."


def _what(row: "pd.Series[Any]") -> str:
    return f"nats per token: {row['cell']} against {row['against']} ({words.interval(row)})"


def _change(runs: Runs, cells: list[str]) -> list[tuple[str, str]]:
    """What training did to the global loss at the first of the cells, and to the worst tenth of clients at the last."""
    means = runs.outcomes.groupby("cell")[["change", "change_worst_tenth"]].mean()
    first, last = cells[0], cells[-1]
    found = [
        (float(means["change"][first]), f"nats per token: change of the global loss by training, {first}"),
        (
            float(means["change_worst_tenth"][last]),
            f"nats per token: the same for the worst tenth of clients, {last}",
        ),
    ]
    return [(words.signed(x), what) for x, what in found if not math.isnan(x)]


def _one_cell(runs: Runs) -> str:
    """The change of the global loss, over all seeds of the only cell."""
    mean = runs.outcomes.mean(numeric_only=True)
    if math.isnan(mean["change"]) or mean["rounds"] == 0:
        return "Nothing was trained yet."
    seeds = f" (mean over {len(runs.seeds)} seeds)" if len(runs.seeds) > 1 else ""
    way = "lowered" if mean["change"] < 0 else "raised"
    return (
        f"{words.number(mean['rounds'], 0)} rounds {way} the global loss from {words.number(mean['base_loss'])} to "
        f"{words.number(mean['final_loss'])} {words.NATS}{seeds}. "
        "There is one cell only, so nothing to compare it with."
    )


def _of_the_gain(runs: Runs) -> str:
    """The main difference as a share of what training gained in the control, so that it has a scale."""
    row = words.largest(runs.contrasts("final_loss"))
    if row is None or (row["seeds"] > 1 and not words.is_clear(row)):
        return ""
    control = runs.outcomes[runs.outcomes["cell"] == row["control"]]
    gain = -control["change"].mean()
    ratio = math.expm1(row["difference"])
    perplexity = f"a perplexity {words.percent(abs(ratio))} {'higher' if ratio > 0 else 'lower'}"
    if not gain > 0:
        return f"That is {perplexity}. Training itself did not lower the loss at {row['control']}."
    return (
        f"That is {perplexity}, and {words.percent(abs(row['difference']) / gain)} of the "
        f"{words.number(gain)} {words.NATS} that training gained at {row['control']}."
    )
