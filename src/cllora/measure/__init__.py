"""Verdicts: whether the runs of a study bear out the claims of the paper."""

from cllora.measure.claims import Claim
from cllora.measure.judging import Found, Part, Verdict, decide, judged
from cllora.measure.skew import Case, skew_of
from cllora.measure.verdicts import CLAIMS, verdicts

__all__ = ["CLAIMS", "Case", "Claim", "Found", "Part", "Verdict", "decide", "judged", "skew_of", "verdicts"]
