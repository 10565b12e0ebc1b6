"""What a person looks at: the HTML page with its figures, and tables for the terminal."""

from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.inspection import inspection_view
from cllora.reports.page import report
from cllora.reports.reading import read_runs
from cllora.reports.runs import Run, Runs
from cllora.reports.terminal import members_view, partition_view, result_rows, results_table, verdict_rows
from cllora.reports.yardstick import curves_of, sentences

__all__ = [
    "Figure",
    "Key",
    "Plot",
    "Run",
    "Runs",
    "curves_of",
    "figures",
    "inspection_view",
    "members_view",
    "partition_view",
    "read_runs",
    "report",
    "result_rows",
    "results_table",
    "sentences",
    "verdict_rows",
]
