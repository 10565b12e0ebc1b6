"""The rules that turn comparisons into a verdict on a claim: supported, contradicted, undecided or not tested."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cllora.analysis import seeds_text
from cllora.claims.claim import Claim, Rule
from cllora.claims.contrasts import Comparison
from cllora.metrics import SHARE, Unit
from cllora.stats import Numbers, estimate, interval, needed, p_of_equivalence, values_of

VerdictKind = Literal["supported", "contradicted", "undecided", "not tested", "not applicable"]

ALPHA = 0.05
"""The largest probability of a wrong verdict on one claim, for each way of being wrong."""
NO_INTERVAL = (math.nan, math.nan, math.nan)
"""Both ends of an interval, and its level, where there is none."""


@dataclass(frozen=True)
class ComparisonVerdict:
    """The verdict on one comparison that a claim rests on: of one metric, over `seeds` replicates.

    difference, low, high: the estimate and its interval (`cllora.stats.interval`); under the rule `at least`, which
        bounds every run, the least and the most.
    level: of the interval: 1 - 0.05 (less where the study is looked at more than once) where the comparison supports
        the claim or is undecided, and 1 - 0.05 / N where it contradicts it, for N comparisons of the claim; NaN where
        there is no interval.
    needed, needed_most: the seeds in all that it would take, as in `cllora.stats.needed`; NaN where nothing is known of
        the spread, or nothing is needed.
    """

    name: str
    kind: VerdictKind
    difference: float
    low: float
    high: float
    level: float
    seeds: int
    margin: float
    needed: float
    needed_most: float
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


@dataclass(frozen=True)
class Evidenced:
    """The signs that the differences of one comparison show, at one level of error.

    inside: that the difference is smaller than the margin. above, below: that there is one, and its direction. beyond:
    that it is larger than the margin.
    """

    inside: bool
    above: bool
    below: bool
    beyond: bool


def evidenced(differences: Numbers, margin: float, alpha: float) -> Evidenced:
    """The signs that differences show, each with a chance of at most `alpha` of being wrong."""
    low, high = interval(differences, 1 - alpha)
    inside = p_of_equivalence(differences, margin) <= alpha
    return Evidenced(bool(inside), low > 0, high < 0, low >= margin or high <= -margin)


def decide(shown: Evidenced, contradicting: Evidenced, rule: Rule) -> VerdictKind:
    """The verdict on one comparison, from what it shows at the level for support and at that for contradiction.

    | rule | supported | contradicted |
    |---|---|---|
    | barely | smaller than the margin | larger than the margin |
    | touches | there, and not smaller than the margin | smaller than the margin |
    | raises | above 0, and not smaller than the margin | below 0, or smaller than the margin |
    | lowers | below 0, and not smaller than the margin | above 0, or smaller than the margin |
    """
    differs, against = shown.above or shown.below, contradicting
    supported, contradicted = {
        "barely": (shown.inside, against.beyond),
        "touches": (differs and not shown.inside, against.inside),
        "raises": (shown.above and not shown.inside, against.below or against.inside),
        "lowers": (shown.below and not shown.inside, against.above or against.inside),
    }[rule]
    return "supported" if supported else "contradicted" if contradicted else "undecided"


def judged(
    claim: Claim,
    comparisons: Sequence[Comparison],
    remark: str = "",
    beside: Sequence[Comparison] = (),
    alpha: float = ALPHA,
) -> Verdict:
    """The verdict on a claim: `over_all` of the verdicts on its comparisons.

    That a claim holds in all of its comparisons is wrong only if it is wrong in one of them, so each may support it at
    the level `alpha` by itself (Berger 1982); that it fails in any is corrected for their number N: `alpha` / N. A
    claim without any numbers is not tested. The effect shown is that of the deciding comparison. For a supported claim,
    and for one that is undecided only because others have no numbers, this is the comparison nearest to failing; else
    it is the largest one with the claim's verdict. Comparisons `beside` decide nothing; they are judged by the
    same rule and at the same levels.
    """
    if not comparisons:
        return untested(claim)
    numbers = [_measured(comparison) for comparison in comparisons]
    many = max(1, sum(len(values) > 0 for values in numbers))
    verdicts = [_of_comparison(claim, *pair, many, alpha) for pair in zip(comparisons, numbers, strict=True)]
    if not any(verdict.seeds for verdict in verdicts):
        unpaired = any(not comparison.differences for comparison in comparisons)
        return untested(claim, "no finished run has its control's yet" if unpaired else "not measured")
    kind = over_all([verdict.kind for verdict in verdicts])
    deciding = [verdict for verdict in verdicts if verdict.kind == kind] or [
        verdict for verdict in verdicts if verdict.seeds
    ]
    chosen = _deciding(claim, deciding)
    aside = [_of_comparison(claim, comparison, _measured(comparison), many, alpha) for comparison in beside]
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


def untested(claim: Claim, lacking: str = "", kind: VerdictKind = "not tested") -> Verdict:
    """The verdict on a claim that the study has no cells or no numbers for: what it lacks, and what to run; or that it
    says nothing of, and why."""
    nan, wanted = math.nan, f"run `cllora run {claim.run}`" if claim.run and kind == "not tested" else ""
    reasons = [reason for reason in (lacking, wanted) if reason] or ["no cells for it"]
    return Verdict(claim, kind, nan, nan, nan, 0, "; ".join(reasons), ())


def nothing(kind: VerdictKind) -> ComparisonVerdict:
    """The verdict on a comparison that there is none of."""
    nan = math.nan
    return ComparisonVerdict("", kind, nan, nan, nan, nan, 0, nan, nan, nan, ())


def _measured(comparison: Comparison) -> Numbers:
    return values_of(comparison.differences)


def _of_comparison(claim: Claim, comparison: Comparison, values: Numbers, many: int, alpha: float) -> ComparisonVerdict:
    """The verdict on one of `many` comparisons of a claim."""
    if not len(values):
        return _judged_as(comparison, "not tested", NO_INTERVAL, values, alpha)
    if claim.rule == "at least":
        kind: VerdictKind = "supported" if values.min() >= comparison.margin else "contradicted"
        return _judged_as(comparison, kind, (float(values.min()), float(values.max()), math.nan), values, alpha)
    at = [evidenced(values, comparison.margin, level) for level in (alpha, alpha / many)]
    kind = decide(at[0], at[1], claim.rule) if len(values) > 1 else "undecided"
    level = 1 - (alpha / many if kind == "contradicted" else alpha)
    low, high = interval(values, level)
    # That there is no effect supports this rule, and contradicts the others.
    of_none = alpha if claim.rule == "barely" else alpha / many
    return _judged_as(comparison, kind, (low, high, level), values, of_none)


def _judged_as(
    comparison: Comparison, kind: VerdictKind, ends: tuple[float, float, float], values: Numbers, alpha: float
) -> ComparisonVerdict:
    """The verdict on a comparison, with both ends of its interval and the level of that."""
    seeds = needed(values, comparison.margin, alpha) if kind == "undecided" else (math.nan, math.nan)
    return ComparisonVerdict(
        comparison.name, kind, estimate(values), *ends, len(values), comparison.margin, *seeds, comparison.cells
    )


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
        return f"{verdict.name}: less than {_amount(verdict.margin, claim.unit)}"
    if claim.rule == "barely":
        return f"{verdict.name}: more than {verdict.margin:.2g}"
    if (claim.rule == "raises" and verdict.high < 0) or (claim.rule == "lowers" and verdict.low > 0):
        return f"{verdict.name}: the other way"
    beginning = "there, but " if verdict.low > 0 or verdict.high < 0 else ""
    return f"{verdict.name}: {beginning}smaller than {verdict.margin:.2g}"


def _amount(value: float, unit: Unit) -> str:
    return f"{100 * value:g} %" if unit == SHARE else f"{value:g}"


def _aside(verdict: ComparisonVerdict) -> str:
    """The words for a comparison of two effects that decides nothing."""
    if verdict.kind == "undecided":
        return _open(verdict, several=True)
    words = {"supported": "another effect", "contradicted": f"the same effect within {verdict.margin:.2g}"}
    return f"{verdict.name}: {words.get(verdict.kind, verdict.kind)}"


def _open(verdict: ComparisonVerdict, several: bool) -> str:
    name = f"{verdict.name}: " if several else ""
    if verdict.seeds < 2:
        return f"{name}one seed shows no spread; at least 2 seeds, better 5, are needed"
    about = seeds_text(verdict.needed, verdict.needed_most)
    return f"{name}{about if verdict.needed > verdict.seeds else f'more than {verdict.seeds}'} seeds needed"
