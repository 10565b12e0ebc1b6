"""The results of a folder of runs as data: tables, metrics, contrasts, probes."""

from cllora.analysis.alpha import Curve, curves_of
from cllora.analysis.chance import Chance, chance, with_chance
from cllora.analysis.contrasts import Contrast, as_family, contrasts, margin_of, seeds_text, typed
from cllora.analysis.environment import environment
from cllora.analysis.pairing import control_values
from cllora.analysis.partitions import partitions, texts_by_class, unlikeness
from cllora.analysis.plan import Cost, Likely, Plan, check_control, plan_of, planned_looks
from cllora.analysis.read import read_record, results
from cllora.analysis.run import Run
from cllora.analysis.settings import settings
from cllora.analysis.tables import Results
from cllora.analysis.variance import Spread, variance

__all__ = [
    "Chance",
    "Contrast",
    "Cost",
    "Curve",
    "Likely",
    "Plan",
    "Results",
    "Run",
    "Spread",
    "as_family",
    "chance",
    "check_control",
    "contrasts",
    "control_values",
    "curves_of",
    "environment",
    "margin_of",
    "partitions",
    "plan_of",
    "planned_looks",
    "read_record",
    "results",
    "seeds_text",
    "settings",
    "texts_by_class",
    "typed",
    "unlikeness",
    "variance",
    "with_chance",
]
