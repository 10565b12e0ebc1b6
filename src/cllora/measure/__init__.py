"""Losses to effects: pure functions over the loss table, the partition and the rounds' records."""

from cllora.measure.contrasts import contrasts, paired_interval, together
from cllora.measure.fairness import FAIRNESS, fairness, jain, variance, worst_tenth
from cllora.measure.losses import Tables, class_curve, client_losses, global_curve, local_gaps, tables
from cllora.measure.outcomes import communication, outcomes

__all__ = [
    "FAIRNESS",
    "Tables",
    "class_curve",
    "client_losses",
    "communication",
    "contrasts",
    "fairness",
    "global_curve",
    "jain",
    "local_gaps",
    "outcomes",
    "paired_interval",
    "tables",
    "together",
    "variance",
    "worst_tenth",
]
