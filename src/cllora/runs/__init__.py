"""Running a study: every cell to the end, whatever was done before kept."""

from cllora.runs.failures import CellsFailed
from cllora.runs.study import run
from cllora.runs.tracking import TrackedRun, trackers

__all__ = ["CellsFailed", "TrackedRun", "run", "trackers"]
