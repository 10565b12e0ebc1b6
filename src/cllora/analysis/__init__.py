"""The results of a folder of runs as data: tables, metrics, contrasts, probes."""

from cllora.analysis.contrasts import Contrast, as_family, contrasts, control_values, typed
from cllora.analysis.read import read_record, results
from cllora.analysis.run import Run
from cllora.analysis.tables import Results

__all__ = [
    "Contrast",
    "Results",
    "Run",
    "as_family",
    "contrasts",
    "control_values",
    "read_record",
    "results",
    "typed",
]
