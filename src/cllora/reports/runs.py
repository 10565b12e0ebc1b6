"""The results that the report draws."""

from cllora.analysis import Results as Runs
from cllora.analysis import Run

__all__ = ["Run", "Runs"]
