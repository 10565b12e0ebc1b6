"""The rules that turn comparisons into a verdict on a claim: supported, contradicted, undecided or not tested."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cllora.claims.claim import Claim, Rule
from cllora.claims.contrasts import Comparison
from cllora.metrics import SHARE, Unit
from cllora.stats import MOST_SEEDS, Numbers, seeds_to_tell, summary, t_interval

VerdictKind = Literal["supported", "contradicted", "undecided", "not tested"]

ALPHA = 0.05
"""The largest probability of a wrong verdict on one claim, for each way of being wrong."""


@dataclass(frozen=True)
class ComparisonVerdict:
    """The verdict on one comparison that a claim rests on: of one metric, over `seeds` replicates.

    difference: its mean over seeds. low and high: the t interval at the level 1 - 0.05 / N, for N comparisons of the
    claim; under the rule `at least`, which bounds every run, the least and the most. needed: the seeds in all that it
    would take, as in `seeds_to_tell`; NaN where nothing is known of the spread, or nothing is needed.
    """

    name: str
    kind: VerdictKind
    difference: float
    low: float
    high: float
    seeds: int
    margin: float
    needed: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict of a study on one claim, with the comparisons that decide it.

    effect, low, high, seeds: of the comparison that decides, see `judged`.
    why: what a contradiction is by, why nothing is decided and how many seeds that would take, or what to run.
    cells: those whose runs are behind it.
    comparisons: all of them, those that decide nothing last.
    """

    claim: Claim
    kind: VerdictKind
    effect: float
    low: float
    high: float
    seeds: int
    why: str
    cells: tuple[str, ...]
    comparisons: tuple[ComparisonVerdict, ...] = ()


def decide(low: float, high: float, margin: float, rule: Rule) -> VerdictKind:
    """The verdict on one comparison from where its interval lies; with no interval nothing is decided.

    | rule | supported | contradicted |
    |---|---|---|
    | barely | inside (-m, m) | wholly outside |
    | touches | without 0, and not inside (-m, m) | inside (-m, m) |
    | raises | above 0, and not inside (-m, m) | below 0, or inside (-m, m) |
    | lowers | below 0, and not inside (-m, m) | above 0, or inside (-m, m) |
    | at least | low >= m | low < m |
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    inside = -margin < low and high < margin
    above, below = low > 0, high < 0
    supported, contradicted = {
        "barely": (inside, low >= margin or high <= -margin),
        "touches": ((above or below) and not inside, inside),
        "raises": (above and not inside, below or inside),
        "lowers": (below and not inside, above or inside),
        "at least": (low >= margin, low < margin),
    }[rule]
    return "supported" if supported else "contradicted" if contradicted else "undecided"


def judged(
    claim: Claim, comparisons: Sequence[Comparison], remark: str = "", beside: Sequence[Comparison] = ()
) -> Verdict:
    """The verdict on a claim: `over_all` of the verdicts on its comparisons.

    Each comparison is judged by its t interval at the level 1 - 0.05 / N, N being the comparisons with numbers. A claim
    without any numbers is not tested. The effect shown is that of the deciding comparison. For a supported claim, and
    for one that is undecided only because other comparisons have no numbers, this is the comparison nearest to failing;
    else it is the largest one with the claim's verdict. Comparisons `beside` decide nothing; they are judged by the
    same rule and at the same level.
    """
    if not comparisons:
        return untested(claim)
    numbers = [_measured(comparison) for comparison in comparisons]
    many = max(1, sum(len(values) > 0 for values in numbers))
    verdicts = [_of_comparison(claim, *pair, ALPHA / many) for pair in zip(comparisons, numbers, strict=True)]
    if not any(verdict.seeds for verdict in verdicts):
        unpaired = any(not comparison.differences for comparison in comparisons)
        return untested(claim, "no finished run has its control's yet" if unpaired else "not measured")
    kind = over_all([verdict.kind for verdict in verdicts])
    deciding = [verdict for verdict in verdicts if verdict.kind == kind] or [
        verdict for verdict in verdicts if verdict.seeds
    ]
    chosen = _deciding(claim, deciding)
    aside = [_of_comparison(claim, comparison, _measured(comparison), ALPHA / many) for comparison in beside]
    reasons = (_why(claim, kind, verdicts), *(_aside(verdict) for verdict in aside), remark)
    every = (*verdicts, *aside)
    return Verdict(
        claim=claim,
        kind=kind,
        effect=chosen.difference,
        low=chosen.low,
        high=chosen.high,
        seeds=chosen.seeds,
        why="; ".join(reason for reason in reasons if reason),
        cells=tuple(dict.fromkeys(cell for verdict in every for cell in verdict.cells)),
        comparisons=every,
    )


def untested(claim: Claim, lacking: str = "") -> Verdict:
    """The verdict on a claim that the study has no cells or no numbers for: what it lacks, and what to run."""
    nan, wanted = math.nan, f"run `cllora run {claim.run}`" if claim.run else ""
    reasons = [reason for reason in (lacking, wanted) if reason] or ["no cells for it"]
    return Verdict(claim, "not tested", nan, nan, nan, 0, "; ".join(reasons), ())


def _measured(comparison: Comparison) -> Numbers:
    values: Numbers = np.asarray(comparison.differences, float)
    return np.asarray(values[np.isfinite(values)])


def _of_comparison(claim: Claim, comparison: Comparison, values: Numbers, alpha: float) -> ComparisonVerdict:
    mean, spread, seeds = summary(values)
    low, high = (float(end) for end in t_interval(mean, spread, seeds, 1 - alpha))
    if claim.rule == "at least" and seeds:
        low, high = float(values.min()), float(values.max())
    kind: VerdictKind = decide(low, high, claim.margin, claim.rule) if seeds else "not tested"
    needed = math.nan
    if kind == "undecided" and seeds > 1:
        needed = seeds_to_tell(mean, spread, seeds, claim.margin, alpha / 2)
    name, cells = comparison.name, comparison.cells
    return ComparisonVerdict(name, kind, mean, low, high, seeds, claim.margin, needed, cells)


def over_all(kinds: Sequence[VerdictKind]) -> VerdictKind:
    """A claim is contradicted if one of its comparisons is, supported if all are, else undecided."""
    if "contradicted" in kinds:
        return "contradicted"
    return "supported" if set(kinds) == {"supported"} else "undecided"


def _deciding(claim: Claim, verdicts: Sequence[ComparisonVerdict]) -> ComparisonVerdict:
    """The comparison to show, of several with one verdict."""
    nearest = verdicts[0].kind == "supported" and claim.rule != "barely"
    ordered = sorted(verdicts, key=lambda verdict: abs(verdict.difference))
    return ordered[0 if nearest else -1]


def _why(claim: Claim, kind: VerdictKind, verdicts: Sequence[ComparisonVerdict]) -> str:
    names: Mapping[str, list[str]] = {
        word: [verdict.name for verdict in verdicts if verdict.kind == word] for word in ("supported", "not tested")
    }
    if kind == "contradicted":
        reasons = "; ".join(_against(claim, verdict) for verdict in verdicts if verdict.kind == kind)
        return f"{reasons}; it holds for {', '.join(names['supported'])}" if names["supported"] else reasons
    if kind == "supported":
        return f"in all {len(verdicts)} comparisons" if len(verdicts) > 1 else ""
    undecided = "; ".join(
        _open(verdict, several=len(verdicts) > 1) for verdict in verdicts if verdict.kind == "undecided"
    )
    missing = f"not measured: {', '.join(names['not tested'])}" if names["not tested"] else ""
    return "; ".join(reason for reason in (undecided, missing) if reason)


def _against(claim: Claim, verdict: ComparisonVerdict) -> str:
    if claim.rule == "at least":
        return f"{verdict.name}: less than {_amount(claim.margin, claim.unit)}"
    if claim.rule == "barely":
        return f"{verdict.name}: more than {claim.margin:g}"
    if -claim.margin < verdict.low and verdict.high < claim.margin:
        beginning = "there, but " if verdict.low > 0 or verdict.high < 0 else ""
        return f"{verdict.name}: {beginning}smaller than {claim.margin:g}"
    return f"{verdict.name}: the other way"


def _amount(value: float, unit: Unit) -> str:
    return f"{100 * value:g} %" if unit == SHARE else f"{value:g}"


def _aside(verdict: ComparisonVerdict) -> str:
    """The words for a comparison of two effects that decides nothing."""
    if verdict.kind == "undecided":
        return _open(verdict, several=True)
    words = {"supported": "another effect", "contradicted": f"the same effect within {verdict.margin:g}"}
    return f"{verdict.name}: {words.get(verdict.kind, verdict.kind)}"


def _open(verdict: ComparisonVerdict, several: bool) -> str:
    name = f"{verdict.name}: " if several else ""
    if verdict.seeds < 2:
        return f"{name}one seed shows no spread; at least 2 seeds, better 5, are needed"
    if verdict.needed > MOST_SEEDS:
        return f"{name}more than {MOST_SEEDS:,} seeds needed"
    about = f"about {verdict.needed:,.0f}" if verdict.needed > verdict.seeds else f"more than {verdict.seeds}"
    return f"{name}{about} seeds needed"
