"""What the study says on each claim of the paper, and on the question that it leaves open."""

import math

import pandas as pd

from cllora import measure
from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Runs

MARKS = {"supported": "✔", "contradicted": "✘", "undecided": "?", "not tested": "–"}
MOST_PARTS = 3
"""Comparisons of a claim that the page shows; the file has all."""


@figures.register()
def verdicts(runs: Runs) -> Figure:
    """The claims of the paper that this study tests, and the question (i) that it leaves open, each at the strongest
    skew that it has, in every setting. A verdict is by where the 95 % interval lies: supported (✔) or contradicted (✘)
    if it lies wholly on one side, undecided (?) otherwise. Differences below the margin count as none. Intervals are of
    pairs of equal seed, and hold for all comparisons of a claim at once."""
    found = measure.verdicts(cases(runs))
    tested = [each for each in found if each.verdict != "not tested"]
    return Figure(
        title="The paper's claims",
        conclusion=_conclusion(tested),
        table=verdict_table(tested),
        shown=pd.DataFrame([_row(each) for each in tested]),
        notes=_untested([each for each in found if each.verdict == "not tested"]),
        measured=bool(tested),
    )


def cases(runs: Runs) -> list[measure.Case]:
    """The runs, as claims are judged by them."""
    return [
        measure.Case(
            cell=runs.cell(run.labels),
            experiment=run.experiment,
            finished=run.finished,
            fingerprint=run.fingerprint,
            parameters=float(run.environment.communication.full_parameters or math.nan),
            partition=run.partition,
            rounds=run.rounds,
            tables=run.tables,
            outcome=run.outcome,
        )
        for run in runs.members
    ]


def verdict_table(found: list[measure.Verdict]) -> pd.DataFrame:
    """A row per comparison, with the verdict on its claim and on itself."""
    rows = [
        {
            "claim": each.letter,
            "said": each.claim,
            "verdict": each.verdict,
            "comparison": part.what or part.cells[0],
            "of_comparison": part.verdict,
            "difference": part.difference,
            "low": part.low,
            "high": part.high,
            "unit": each.unit,
            "margin": part.margin,
            "seeds": part.seeds,
            "needed": part.needed,
            "computed": each.computed,
            "remark": each.why,
            "cells": "; ".join(part.cells),
        }
        for each in found
        for part in each.parts
    ]
    return pd.DataFrame(rows)


def _row(each: measure.Verdict) -> dict[str, str]:
    return {
        "claim": f"({each.letter}) {words.capital(each.claim)}",
        "verdict": f"{MARKS[each.verdict]} {each.verdict}",
        "effect [95 % interval]": _effects(each),
        "of what": f"{each.computed} ({each.unit})",
        "why": each.why or "–",
        "runs behind it": _behind(each),
    }


def _effects(each: measure.Verdict) -> str:
    if len(each.parts) > MOST_PARTS:
        chosen = next(part for part in each.parts if part.difference == each.effect)
        return f"{_effect(each, chosen)}; {len(each.parts) - 1} more in the file"
    return "; ".join(_effect(each, part) for part in each.parts)


def _effect(each: measure.Verdict, part: measure.Part) -> str:
    name = f"{part.what}: " if len(each.parts) > 1 else ""
    if each.unit == "share":
        return f"{name}{words.percent(part.difference)}"
    if math.isnan(part.difference):
        return f"{name}not measured"
    lacking = " (one seed: no interval)" if math.isnan(part.low) else ""
    return f"{name}{words.with_interval(part.difference, part.low, part.high)}{lacking}"


def _behind(each: measure.Verdict) -> str:
    if each.unit == "share":
        return ", ".join(each.cells)
    seeds = [part.seeds for part in each.parts]
    return f"{', '.join(each.cells)}; {words.span(min(seeds), max(seeds))} pair{'' if max(seeds) == 1 else 's'}"


def _conclusion(tested: list[measure.Verdict]) -> str:
    if not tested:
        return "This study tests none of the paper's claims."
    counted = []
    for word in ("supported", "contradicted", "undecided"):
        letters = [f"({each.letter})" for each in tested if each.verdict == word]
        if letters:
            counted.append(f"{word}: {words.listed(letters)}")
    asked = f"the paper's {len(measure.CLAIMS) - 1} claims and the question that it leaves open"
    return f"Of {asked} this study tests {len(tested)}; {'; '.join(counted)}."


def _untested(found: list[measure.Verdict]) -> tuple[str, ...]:
    """One line: which claims are not tested, and what to run."""
    if not found:
        return ()
    said = "; ".join(f"({each.letter}) {each.claim}: {each.why}" for each in found)
    return (f"{MARKS['not tested']} Not tested here: {said}.",)
