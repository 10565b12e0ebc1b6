"""The first thing read: what was asked, and the answer in plain words with its main figure and numbers."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.forest import ANSWERS, forest, judged, keys
from cllora.reports.runs import Runs
from cllora.stats import MOST_SEEDS

MOST_NAMES = 4
"""Cells that one sentence names."""
MOST_ROWS = 12
"""Comparisons that the first figure has room for."""


@dataclass(frozen=True)
class Answer:
    """A question, its answer in short (or nothing), what there is to say of it, and the main figure.

    numbers: those to remember: (number, what it is).
    """

    question: str
    headline: str
    sentences: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    figure: Figure


def answer(runs: Runs) -> Answer:
    """How much does what was varied change the result? In a study of one cell: what did training bring?"""
    known = _saved(runs)
    if len(runs.cells) == 1:
        said = (_one_cell(runs), _of_different_data(runs), _unfinished(runs))
        return Answer(
            "What did training bring?", "", _given(said), (*_change(runs, runs.cells[0]), *known), _main(runs)
        )
    axes = words.listed(list(runs.axes))
    verb = "does" if len(runs.axes) == 1 else "do"
    skew = all(path.startswith("partition.") for path in runs.axes.values())
    question = f"How much does the skew ({axes}) hurt?" if skew else f"How much {verb} {axes} matter?"
    row = words.largest(runs.contrasts("final_loss"))
    if row is None:
        main, cell = [], [*runs.controls, *runs.cells][0]
    else:
        main, cell = [(words.signed(row["difference"]), _what(row))], str(row["cell"])
    effect = words.effect(runs, "final_loss", "the final global loss")
    sentences = (effect, _of_the_gain(runs), _of_different_data(runs), _unfinished(runs))
    return Answer(question, _headline(runs), _given(sentences), (*main, *_change(runs, cell), *known), _main(runs))


def _saved(runs: Runs) -> list[tuple[str, str]]:
    """The share of the communication saved; from the least to the most where cells differ in it."""
    shares = runs.averaged.groupby("cell")["saved"].mean().dropna()
    if shares.empty:
        return []
    least, most = (words.percent(share) for share in (shares.min(), shares.max()))
    told = most if least == most else f"{least.removesuffix(' %')} to {most}"
    return [(told, "of the communication saved against sending the full model")]


def _main(runs: Runs) -> Figure:
    """Every cell against the control in the final global loss; where there is nothing to compare, the global loss."""
    found = judged(runs, "final_loss")
    if found.empty:
        curves = figures.get("global_loss")(runs)
        return replace(curves, plots=curves.plots[:1])
    subject = "final global loss"
    if len(found) > MOST_ROWS:
        subject += f": the {MOST_ROWS} largest of {len(found)} differences"
        found = found.loc[found["difference"].abs().nlargest(MOST_ROWS).index.sort_values()]
    drawn = forest(runs, found, subject, words.NATS)
    return Figure("Final global loss against the control", "", (drawn,), keys(found))


def _headline(runs: Runs) -> str:
    """The answer in plain words: what differs, what is shown to make no difference, and what cannot be told."""
    found = judged(runs, "final_loss")
    if found.empty:
        return ""
    if found["seeds"].max() < 2:
        return "One seed cannot tell: run more seeds before you believe a difference."
    rows = {verdict: found[found["shows"] == verdict] for verdict in ANSWERS}
    differ, same, undecided = (rows[verdict] for verdict in ("differs", "equivalent", "undecided"))
    parts = [
        *_changed("higher", differ[differ["difference"] > 0], len(found)),
        *_changed("lower", differ[differ["difference"] < 0], len(found)),
        *([f"no difference worth naming at {_named(same, len(found))}"] if len(same) else []),
        *(
            [f"not enough seeds to tell at {_named(undecided, len(found))}{_needed(undecided)}"]
            if len(undecided)
            else []
        ),
    ]
    return words.capital(f"{'; '.join(parts)}.")


def _changed(way: str, rows: pd.DataFrame, of: int) -> list[str]:
    if rows.empty:
        return []
    most = words.number(rows["difference"].abs().max())
    by = f"by {most}" if len(rows) == 1 else f"by up to {most}"
    return [f"the final global loss is {way} at {_named(rows, of)} ({by} {words.NATS})"]


def _named(rows: pd.DataFrame, of: int) -> str:
    """The cells of some comparisons `of` so many; a name with a comma in it stands in brackets."""
    if len(rows) == of > MOST_NAMES:
        return f"all {of} other cells"
    names = [f"({cell})" if ", " in str(cell) else str(cell) for cell in rows["cell"][:MOST_NAMES]]
    more = len(rows) - len(names)
    return words.listed([*names, f"{more} more"] if more else names)


def _needed(rows: pd.DataFrame) -> str:
    """About how many seeds it would take: of all these comparisons, from the least to the most."""
    known = rows["needed"].dropna()
    known = known[known <= MOST_SEEDS]
    if known.empty:
        return ""
    return f" (about {words.span(int(known.min()), int(known.max()))} needed)"


def _given(sentences: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sentence for sentence in sentences if sentence)


def _of_different_data(runs: Runs) -> str:
    kinds = len({run.fingerprint for run in runs.members})
    if kinds == 1:
        return ""
    return f"The runs are on {kinds} different sets of data; only runs on the same data are compared."


def _unfinished(runs: Runs) -> str:
    whole = sum(run.finished for run in runs.members)
    wanted = len(runs.members) + len(runs.missing)
    if whole == wanted:
        return ""
    failed = f"; {len(runs.failed)} failed, see Design" if runs.failed else ""
    return f"Not all is finished: {whole} of {words.count(wanted, 'run')}{failed}."


def _what(row: "pd.Series[Any]") -> str:
    return f"nats per token: {row['cell']} against {row['against']} ({words.interval(row)})"


def _change(runs: Runs, cell: str) -> list[tuple[str, str]]:
    """What training did for the clients of one cell: for all of them, and for the tenth that it helped least.

    Without texts of the clients' own to test on, what it did on the global test set.
    """
    means = runs.averaged[runs.averaged["cell"] == cell].mean(numeric_only=True)
    found = [
        (means["change_mean"], "mean over clients, on their own test texts"),
        (means["change_worst_tenth"], "the worst tenth of clients, on their own test texts"),
    ]
    if math.isnan(means["change_mean"]):
        found = [(means["change"], "on the global test set")]
    what = f"nats per token: change of loss by training at {cell}"
    return [(words.signed(x), f"{what}, {where}") for x, where in found if not math.isnan(x)]


def _one_cell(runs: Runs) -> str:
    """The change of the global loss, over all seeds of the only cell."""
    mean = runs.averaged.mean(numeric_only=True)
    if math.isnan(mean["change"]) or mean["rounds"] == 0:
        return "Nothing was trained yet."
    seeds = f" (mean over {len(runs.averaged)} seeds)" if len(runs.averaged) > 1 else ""
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
    control = runs.averaged[runs.averaged["cell"] == row["control"]]
    gain = -control["change"].mean()
    ratio = math.expm1(row["difference"])
    perplexity = f"a perplexity {words.percent(abs(ratio))} {'higher' if ratio > 0 else 'lower'}"
    if not gain > 0:
        return f"That is {perplexity}. Training itself did not lower the loss at {row['control']}."
    return (
        f"That is {perplexity}, and {words.percent(abs(row['difference']) / gain)} of the "
        f"{words.number(gain)} {words.NATS} that training gained at {row['control']}."
    )
