"""The verdicts of a study on every claim."""

from collections.abc import Iterable

import pandas as pd

from cllora.analysis import Results
from cllora.claims.claim import Claim, claim, claims
from cllora.claims.contrasts import compared
from cllora.claims.judging import Verdict, judged, nothing, untested
from cllora.errors import UsageError


def verdict(name: str, results: Results) -> Verdict:
    """The verdict on one claim.

    Raises:
        UsageError: there is no such claim, or its function or a metric of its own failed.
    """
    asked = claim(name)
    evidence = asked.evidence(results)
    if evidence.not_applicable:
        return untested(asked, evidence.not_applicable, "not applicable")
    if not evidence.contrasts:
        return untested(asked, evidence.lacking)
    try:
        comparisons, beside = (
            compared(contrasts, asked.metrics, asked.margin, results.margin, in_full=contrasts is evidence.beside)
            for contrasts in (evidence.contrasts, evidence.beside)
        )
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"claim '{name}' failed: {type(error).__name__}: {error}") from error
    return judged(asked, comparisons, evidence.remark, beside, 1 - results.level)


def verdicts(results: Results) -> list[Verdict]:
    """The verdicts on all registered claims, in the order in which they were registered."""
    return [verdict(name, results) for name in claims.names()]


def verdict_table(of_claims: Iterable[Verdict]) -> pd.DataFrame:
    """A row per comparison, with the verdict on its claim and on itself; one without numbers for a claim without."""
    rows = [
        {
            **_named(verdict.claim),
            "verdict": verdict.kind,
            "comparison": part.name or ", ".join(part.cells[:1]),
            "of_comparison": part.kind,
            "difference": part.difference,
            "low": part.low,
            "high": part.high,
            "level": part.level,
            "unit": verdict.claim.unit.name,
            "margin": part.margin,
            "seeds": part.seeds,
            "needed": part.needed,
            "needed_most": part.needed_most,
            "computed": verdict.claim.computed,
            "remark": verdict.why,
            "cells": "; ".join(part.cells),
        }
        for verdict in of_claims
        for part in verdict.comparisons or [nothing(verdict.kind)]
    ]
    return pd.DataFrame(rows)


def _named(asked: Claim) -> dict[str, str]:
    return {"claim": asked.label, "statement": asked.title}
