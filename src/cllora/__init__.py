"""Measure how the length, quantity and quality of clients' texts change federated LoRA fine-tuning.

import cllora
folder = cllora.run("demo")        # a preset, a YAML file or a Study
page = cllora.report(folder)       # one self-contained HTML page
tables = cllora.results(folder)    # the same numbers as pandas tables
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cllora.analysis import Results, results
    from cllora.reports import report
    from cllora.runs import run
    from cllora.spec import Experiment, Study

__version__ = "0.2.0"
__all__ = ["Experiment", "Results", "Study", "report", "results", "run"]

_HOMES = {
    "Experiment": "spec",
    "Results": "analysis",
    "Study": "spec",
    "report": "reports",
    "results": "analysis",
    "run": "runs",
}


def __getattr__(name: str) -> Any:  # Any: whichever of them
    """Import a name of the package when it is first used, so that `import cllora` stays light."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'cllora' has no attribute '{name}'")
    return getattr(importlib.import_module(f"cllora.{_HOMES[name]}"), name)
