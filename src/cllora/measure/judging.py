"""From comparisons to a verdict on a claim: supported, contradicted, undecided or not tested."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cllora.measure.claims import Claim, Rule
from cllora.stats import MOST_SEEDS, Numbers, seeds_to_tell, summary, t_interval

Word = Literal["supported", "contradicted", "undecided", "not tested"]

ALPHA = 0.05
"""What the chances of a wrong verdict on one claim come to at most, for each way of being wrong."""


@dataclass(frozen=True)
class Part:
    """One comparison that a claim rests on: of one outcome, in one setting, over `seeds` pairs of runs.

    low and high: the t interval at the level 1 - 0.05 / N, for N comparisons of the claim; of what is arithmetic the
    least and the most of all runs. needed: the seeds in all that it would take, as in `seeds_to_tell`; NaN where
    nothing is known of the spread, or nothing is needed.
    """

    what: str
    verdict: Word
    difference: float
    low: float
    high: float
    seeds: int
    margin: float
    needed: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """One claim and what a study says on it.

    effect, low, high, unit, seeds: of the comparison that decides, see `judged`. computed: what they are of, in words.
    why: what a contradiction is by, why nothing is decided and how many seeds that would take, or what to run. cells:
    those whose runs are behind it. parts: every comparison.
    """

    letter: str
    claim: str
    verdict: Word
    effect: float
    low: float
    high: float
    unit: str
    seeds: int
    computed: str
    why: str
    cells: tuple[str, ...]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Found:
    """The numbers of one comparison, one for each pair of runs; NaN where it was not measured."""

    what: str
    differences: Sequence[float]
    cells: tuple[str, ...]


def decide(low: float, high: float, margin: float, rule: Rule) -> Word:
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


def judged(claim: Claim, found: Sequence[Found], remark: str = "", beside: Sequence[Found] = ()) -> Verdict:
    """The verdict on a claim from all comparisons that it rests on.

    It is that `over_all`, each by its t interval at the level 1 - 0.05 / N for the N that have numbers. Not tested
    without any numbers. effect and interval are of the comparison that decides: of a contradiction or an undecided
    claim the largest of those, of a supported one, or one that lacks but the numbers of others, the nearest to failing.
    Comparisons `beside` decide nothing; they follow in parts, by the same rule and at the same level.
    """
    if not found:
        return untested(claim)
    known = [(each, _known(each)) for each in found]
    many = max(1, sum(len(values) > 0 for _, values in known))
    parts = tuple(_part(claim, each, values, ALPHA / many) for each, values in known)
    if not any(part.seeds for part in parts):
        why = "no finished run has its control's yet" if any(not each.differences for each in found) else "not measured"
        return untested(claim, why)
    verdict = over_all([part.verdict for part in parts])
    chosen = _deciding(claim, [part for part in parts if part.verdict == verdict] or [p for p in parts if p.seeds])
    aside = tuple(_part(claim, each, _known(each), ALPHA / many) for each in beside)
    reasons = (_why(claim, verdict, parts), *(_aside(part) for part in aside), remark)
    return Verdict(
        letter=claim.letter,
        claim=claim.said,
        verdict=verdict,
        effect=chosen.difference,
        low=chosen.low,
        high=chosen.high,
        unit=claim.unit,
        seeds=chosen.seeds,
        computed=claim.computed,
        why="; ".join(each for each in reasons if each),
        cells=tuple(dict.fromkeys(cell for part in (*parts, *aside) for cell in part.cells)),
        parts=(*parts, *aside),
    )


def untested(claim: Claim, lacking: str = "") -> Verdict:
    """The verdict on a claim that the study has no cells or no numbers for: what it lacks, and what to run."""
    nan, why = math.nan, f"{lacking}{'; ' if lacking else ''}run `cllora run {claim.run}`"
    return Verdict(claim.letter, claim.said, "not tested", nan, nan, nan, claim.unit, 0, claim.computed, why, ())


def _known(found: Found) -> Numbers:
    values: Numbers = np.asarray(found.differences, float)
    return np.asarray(values[np.isfinite(values)])


def _part(claim: Claim, found: Found, values: Numbers, alpha: float) -> Part:
    mean, spread, seeds = summary(values)
    low, high = (float(end) for end in t_interval(mean, spread, seeds, 1 - alpha))
    if claim.rule == "at least" and seeds:
        low, high = float(values.min()), float(values.max())
    verdict: Word = decide(low, high, claim.margin, claim.rule) if seeds else "not tested"
    needed = math.nan
    if verdict == "undecided" and seeds > 1:
        needed = seeds_to_tell(mean, spread, seeds, claim.margin, alpha / 2)
    return Part(found.what, verdict, mean, low, high, seeds, claim.margin, needed, found.cells)


def over_all(verdicts: Sequence[Word]) -> Word:
    """A claim is contradicted if one of its comparisons is, supported if all are, else undecided."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "undecided"


def _deciding(claim: Claim, parts: Sequence[Part]) -> Part:
    """Of comparisons with one verdict the one to show."""
    nearest = parts[0].verdict == "supported" and claim.rule != "barely"
    ordered = sorted(parts, key=lambda part: abs(part.difference))
    return ordered[0 if nearest else -1]


def _why(claim: Claim, verdict: Word, parts: Sequence[Part]) -> str:
    named: Mapping[str, list[str]] = {
        word: [part.what for part in parts if part.verdict == word] for word in ("supported", "not tested")
    }
    if verdict == "contradicted":
        against = [part for part in parts if part.verdict == verdict]
        said = "; ".join(_against(claim, part) for part in against)
        return f"{said}; it holds for {', '.join(named['supported'])}" if named["supported"] else said
    if verdict == "supported":
        return f"in all {len(parts)} comparisons" if len(parts) > 1 else ""
    said = "; ".join(_open(part, several=len(parts) > 1) for part in parts if part.verdict == "undecided")
    missing = f"not measured: {', '.join(named['not tested'])}" if named["not tested"] else ""
    return "; ".join(each for each in (said, missing) if each)


def _against(claim: Claim, part: Part) -> str:
    if claim.rule == "at least":
        return f"{part.what}: less than {100 * claim.margin:g} %"
    if claim.rule == "barely":
        return f"{part.what}: more than {claim.margin:g}"
    if -claim.margin < part.low and part.high < claim.margin:
        there = "there, but " if part.low > 0 or part.high < 0 else ""
        return f"{part.what}: {there}smaller than {claim.margin:g}"
    return f"{part.what}: the other way"


def _aside(part: Part) -> str:
    """What a comparison of two effects says that decides nothing."""
    if part.verdict == "undecided":
        return _open(part, several=True)
    said = {"supported": "another effect", "contradicted": f"the same effect within {part.margin:g}"}
    return f"{part.what}: {said.get(part.verdict, part.verdict)}"


def _open(part: Part, several: bool) -> str:
    name = f"{part.what}: " if several else ""
    if part.seeds < 2:
        return f"{name}one seed shows no spread; at least 2 seeds, better 5, are needed"
    if part.needed > MOST_SEEDS:
        return f"{name}more than {MOST_SEEDS:,} seeds needed"
    about = f"about {part.needed:,.0f}" if part.needed > part.seeds else f"more than {part.seeds}"
    return f"{name}{about} seeds needed"
