"""What a person looks at: the HTML page with its figures, and tables for the terminal."""

from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.page import report
from cllora.reports.runs import Run, Runs, read_runs
from cllora.reports.terminal import partition_view, result_rows, results_table

__all__ = [
    "Figure",
    "Key",
    "Plot",
    "Run",
    "Runs",
    "figures",
    "partition_view",
    "read_runs",
    "report",
    "result_rows",
    "results_table",
]
