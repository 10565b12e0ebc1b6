"""Claims and verdicts: whether the runs of a study bear out what somebody claims."""

from cllora.claims.claim import Claim, ClaimFacts, Rule, Source, claim, claims
from cllora.claims.contrasts import Comparison, Contrast, Evidence, against_control, compared, difference, paired
from cllora.claims.judging import (
    ComparisonVerdict,
    Evidenced,
    Verdict,
    VerdictKind,
    decide,
    evidenced,
    judged,
    over_all,
)
from cllora.claims.verdicts import verdict, verdict_table, verdicts

__all__ = [
    "Claim",
    "ClaimFacts",
    "Comparison",
    "ComparisonVerdict",
    "Contrast",
    "Evidence",
    "Evidenced",
    "Rule",
    "Source",
    "Verdict",
    "VerdictKind",
    "against_control",
    "claim",
    "claims",
    "compared",
    "decide",
    "difference",
    "evidenced",
    "judged",
    "over_all",
    "paired",
    "verdict",
    "verdict_table",
    "verdicts",
]
