"""Losses to effects: pure functions over the loss table, the partition and the rounds' records."""

from cllora.measure.claims import Claim
from cllora.measure.contrasts import MARGIN, contrasts, control_values, rounds_to_control, together
from cllora.measure.effects import (
    bootstrap_interval,
    hedges_g,
    holm,
    p_differs,
    p_equivalent,
    paired_interval,
    summary,
    t_interval,
)
from cllora.measure.judging import Found, Part, Verdict, decide, judged
from cllora.measure.mechanism import (
    Relation,
    client_drifts,
    disagreements,
    mechanism_curve,
    mechanism_layers,
    relation,
)
from cllora.measure.outcomes import IN_NATS, communication, outcomes
from cllora.measure.positions import bits_per_byte, position_outcomes
from cllora.measure.power import chance_of_differs, chance_of_equivalent, seeds_needed, seeds_to_tell
from cllora.measure.signatures import (
    Signature,
    divergence,
    early_overfitting,
    fairness_collapse,
    global_oscillation,
    never_learns,
    signatures,
    turns,
)
from cllora.measure.skew import Case, skew_of
from cllora.measure.verdicts import CLAIMS, verdicts
from cllora.metrics.curves import area, forgetting, oscillation, rounds_to, valley
from cllora.metrics.fairness import FAIRNESS, fairness, jain, variance, worst_tenth
from cllora.metrics.losses import Tables, class_curve, client_losses, global_curve, local_gaps, tables

__all__ = [
    "CLAIMS",
    "FAIRNESS",
    "IN_NATS",
    "MARGIN",
    "Case",
    "Claim",
    "Found",
    "Part",
    "Relation",
    "Signature",
    "Tables",
    "Verdict",
    "area",
    "bits_per_byte",
    "bootstrap_interval",
    "chance_of_differs",
    "chance_of_equivalent",
    "class_curve",
    "client_drifts",
    "client_losses",
    "communication",
    "contrasts",
    "control_values",
    "decide",
    "disagreements",
    "divergence",
    "early_overfitting",
    "fairness",
    "fairness_collapse",
    "forgetting",
    "global_curve",
    "global_oscillation",
    "hedges_g",
    "holm",
    "jain",
    "judged",
    "local_gaps",
    "mechanism_curve",
    "mechanism_layers",
    "never_learns",
    "oscillation",
    "outcomes",
    "p_differs",
    "p_equivalent",
    "paired_interval",
    "position_outcomes",
    "relation",
    "rounds_to",
    "rounds_to_control",
    "seeds_needed",
    "seeds_to_tell",
    "signatures",
    "skew_of",
    "summary",
    "t_interval",
    "tables",
    "together",
    "turns",
    "valley",
    "variance",
    "verdicts",
    "worst_tenth",
]
