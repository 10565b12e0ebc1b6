"""The results of a folder of runs."""

from cllora.analysis import results as read_runs

__all__ = ["read_runs"]
