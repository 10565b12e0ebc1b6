"""The section on claims: the verdict on every claim that the study tests, a paper's or a user's own."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from cllora import claims
from cllora.analysis import Results
from cllora.claims import ComparisonVerdict, Source, Verdict, VerdictKind
from cllora.errors import counted
from cllora.metrics.formats import capital, level, listed, span
from cllora.reports.facts import Fact, NotMeasured, Statement
from cllora.reports.section import Section, sections

MARKS: Mapping[VerdictKind, str] = {
    "supported": "✔",
    "contradicted": "✘",
    "undecided": "?",
    "not applicable": "∅",
    "not tested": "–",
}
MOST_COMPARISONS = 3
"""Comparisons of a claim that the page shows; the file has all."""


@sections.register(title="Claims", after="results")
def verdicts(results: Results) -> Section | NotMeasured:
    """The claims that this study tests. A claim is supported (✔) if every comparison that it rests on bears it out;
    contradicted (✘) if any tells against it, corrected for their number; undecided (?) otherwise; not applicable (∅)
    where a study such as this says nothing of it, whatever comes out. Differences below the margin count as none.
    Intervals are of pairs of equal seed; minutes are what the runs behind a verdict took, one after the other."""
    every = claims.verdicts(results)
    tested = answered(every)
    sources = list(dict.fromkeys(verdict.claim.source for verdict in tested))
    if not tested:
        return NotMeasured("verdict on claims", asked=False)
    return Section(
        title=sources[0].title if len(sources) == 1 and sources[0] else "",
        facts=facts(tested),
        table=pd.DataFrame([{**_row(verdict), "minutes": _minutes(results, verdict)} for verdict in tested]),
        file=claims.verdict_table(tested),
        notes=(_levels(results), *(source.note for source in sources if source), _untested(every, sources)),
    )


def _levels(results: Results) -> str:
    """The levels of error that verdicts are given at, and of the intervals beside them."""
    error = level(1 - results.level)
    return (
        f"Each comparison supports a claim at {error}; what contradicts one does so at {error} over all of its "
        f"comparisons. In brackets: the interval at the level that decides, {level(results.level)} or, of what "
        "contradicts a claim of several comparisons, higher."
    )


def answered(every: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on claims that the study tests, and, of sources of which it tests any, on those that it cannot say
    anything of."""
    sources = {verdict.claim.source for verdict in every if verdict.kind not in ("not tested", "not applicable")}
    return [verdict for verdict in every if verdict.kind != "not tested" and verdict.claim.source in sources]


def facts(tested: Sequence[Verdict]) -> tuple[Fact, ...]:
    """The number of tested claims of each source, and which are supported, contradicted, undecided."""
    sources: dict[Source | None, list[Verdict]] = {}
    for verdict in tested:
        sources.setdefault(verdict.claim.source, []).append(verdict)
    return tuple(_fact(source, verdicts) for source, verdicts in sources.items())


def _fact(source: Source | None, verdicts: Sequence[Verdict]) -> Fact:
    own = sum(claims.claims.facts(name).source is None for name in claims.claims.names())
    asked = f"{counted(own, 'claim')} of your own" if source is None else source.counted
    labels_of = {kind: [f"({verdict.claim.label})" for verdict in verdicts if verdict.kind == kind] for kind in MARKS}
    verdicts_text = "; ".join(f"{kind}: {listed(labels)}" for kind, labels in labels_of.items() if labels)
    many = sum(verdict.kind != "not applicable" for verdict in verdicts)
    text = f"Of {asked} this study tests {many}; {verdicts_text}."
    return Statement(text, {kind: len(labels) for kind, labels in labels_of.items()})


def _row(verdict: Verdict) -> dict[str, str]:
    asked = verdict.claim
    return {
        "claim": f"({asked.label}) {capital(asked.title)}",
        "verdict": f"{MARKS[verdict.kind]} {verdict.kind}",
        "effect [interval]": _effects(verdict) or "–",
        "of what": f"{asked.computed} ({asked.unit.name})" if asked.unit.name else asked.computed,
        "why": verdict.why or "–",
        "runs behind it": _behind(verdict),
    }


def _minutes(results: Results, verdict: Verdict) -> str:
    """The minutes that the runs behind a verdict took, one after the other."""
    seconds = [run.outcome["seconds"] for run in results.members if results.cell(run.labels) in verdict.cells]
    return f"{sum(seconds) / 60:.1f}" if seconds else "–"


def _effects(verdict: Verdict) -> str:
    several = verdict.comparisons
    if len(several) > MOST_COMPARISONS:
        chosen = next(comparison for comparison in several if comparison.difference == verdict.effect)
        return f"{_effect(verdict, chosen)}; {len(several) - 1} more in the file"
    return "; ".join(_effect(verdict, comparison) for comparison in several)


def _effect(verdict: Verdict, comparison: ComparisonVerdict) -> str:
    name, unit = f"{comparison.name}: " if len(verdict.comparisons) > 1 else "", verdict.claim.unit
    if verdict.claim.rule == "at least":
        return f"{name}{unit.show(comparison.difference)}"
    if math.isnan(comparison.difference):
        return f"{name}not measured"
    doubt = f" [{unit.signed(comparison.low)}, {unit.signed(comparison.high)}]"
    if math.isnan(comparison.low):
        doubt = f" ({'one seed' if comparison.seeds < 2 else 'too few seeds'}: no interval)"
    return f"{name}{unit.signed(comparison.difference)}{doubt}"


def _behind(verdict: Verdict) -> str:
    if verdict.claim.rule == "at least":
        return ", ".join(verdict.cells)
    seeds = [comparison.seeds for comparison in verdict.comparisons]
    if not seeds:
        return "–"
    return f"{', '.join(verdict.cells)}; {span(min(seeds), max(seeds))} pair{'' if max(seeds) == 1 else 's'}"


def _untested(every: Sequence[Verdict], sources: Sequence[Source | None]) -> str:
    """One line: which claims are not tested, and what to run: your own, and those of sources that are tested."""
    untested = [verdict for verdict in every if verdict.kind == "not tested"]
    lacking = [verdict for verdict in untested if verdict.claim.source in (None, *sources)]
    named = "; ".join(f"({verdict.claim.label}) {verdict.claim.title}: {verdict.why}" for verdict in lacking)
    return f"{MARKS['not tested']} Not tested here: {named}." if lacking else ""
