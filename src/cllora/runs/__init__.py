"""Running a study: every cell to the end, whatever was done before kept."""

from cllora.runs.study import run

__all__ = ["run"]
