"""What the study shows of every claim that it tests, a paper's or a user's own."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from cllora import claims
from cllora.claims import ComparisonVerdict, Source, Verdict, VerdictKind
from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Runs

MARKS: Mapping[VerdictKind, str] = {"supported": "✔", "contradicted": "✘", "undecided": "?", "not tested": "–"}
MOST_COMPARISONS = 3
"""Comparisons of a claim that the page shows; the file has all."""


@figures.register()
def verdicts(runs: Runs) -> Figure:
    """The claims that this study tests. A verdict is by where the 95 % interval lies: supported (✔) or contradicted (✘)
    if it lies wholly on one side, undecided (?) otherwise. Differences below the margin count as none. Intervals are of
    pairs of equal seed, and hold for all comparisons of a claim at once."""
    every = claims.verdicts(runs)
    tested = [verdict for verdict in every if verdict.kind != "not tested"]
    sources = list(dict.fromkeys(verdict.claim.source for verdict in tested))
    return Figure(
        title=sources[0].title if len(sources) == 1 and sources[0] else "Claims",
        conclusion=" ".join(told(tested)) or "This study tests none of the claims.",
        table=claims.verdict_table(tested),
        shown=pd.DataFrame([_row(verdict) for verdict in tested]),
        notes=(*(source.note for source in sources if source and source.note), *_untested(every, sources)),
        measured=bool(tested),
    )


def told(tested: Sequence[Verdict]) -> list[str]:
    """A sentence for each source of claims: how many are tested, and which are supported, contradicted, undecided."""
    return [
        f"Of {_counted(source)} this study tests {len(verdicts)}; {_kinds(verdicts)}."
        for source, verdicts in _by_source(tested).items()
    ]


def _by_source(verdicts: Sequence[Verdict]) -> dict[Source | None, list[Verdict]]:
    sources: dict[Source | None, list[Verdict]] = {}
    for verdict in verdicts:
        sources.setdefault(verdict.claim.source, []).append(verdict)
    return sources


def _counted(source: Source | None) -> str:
    if source is not None:
        return source.counted
    own = sum(claims.claims.facts(name).source is None for name in claims.claims.names())
    return f"{words.count(own, 'claim')} of your own"


def _kinds(verdicts: Sequence[Verdict]) -> str:
    labels = {
        kind: [f"({verdict.claim.label})" for verdict in verdicts if verdict.kind == kind]
        for kind in MARKS
        if kind != "not tested"
    }
    return "; ".join(f"{kind}: {words.listed(those)}" for kind, those in labels.items() if those)


def _row(verdict: Verdict) -> dict[str, str]:
    asked = verdict.claim
    return {
        "claim": f"({asked.label}) {words.capital(asked.title)}",
        "verdict": f"{MARKS[verdict.kind]} {verdict.kind}",
        "effect [95 % interval]": _effects(verdict),
        "of what": f"{asked.computed} ({asked.unit.name})" if asked.unit.name else asked.computed,
        "why": verdict.why or "–",
        "runs behind it": _behind(verdict),
    }


def _effects(verdict: Verdict) -> str:
    several = verdict.comparisons
    if len(several) > MOST_COMPARISONS:
        chosen = next(one for one in several if one.difference == verdict.effect)
        return f"{_effect(verdict, chosen)}; {len(several) - 1} more in the file"
    return "; ".join(_effect(verdict, one) for one in several)


def _effect(verdict: Verdict, one: ComparisonVerdict) -> str:
    name, unit = f"{one.name}: " if len(verdict.comparisons) > 1 else "", verdict.claim.unit
    if verdict.claim.rule == "at least":
        return f"{name}{unit.show(one.difference)}"
    if math.isnan(one.difference):
        return f"{name}not measured"
    effect = f"{name}{unit.signed(one.difference)}"
    if math.isnan(one.low):
        return f"{effect} (one seed: no interval)"
    return f"{effect} [{unit.signed(one.low)}, {unit.signed(one.high)}]"


def _behind(verdict: Verdict) -> str:
    if verdict.claim.rule == "at least":
        return ", ".join(verdict.cells)
    seeds = [one.seeds for one in verdict.comparisons]
    return f"{', '.join(verdict.cells)}; {words.span(min(seeds), max(seeds))} pair{'' if max(seeds) == 1 else 's'}"


def _untested(every: Sequence[Verdict], sources: Sequence[Source | None]) -> tuple[str, ...]:
    """One line: which claims are not tested, and what to run: your own, and those of sources that are tested."""
    lacking = [one for one in every if one.kind == "not tested" and one.claim.source in (None, *sources)]
    if not lacking:
        return ()
    named = "; ".join(f"({verdict.claim.label}) {verdict.claim.title}: {verdict.why}" for verdict in lacking)
    return (f"{MARKS['not tested']} Not tested here: {named}.",)
