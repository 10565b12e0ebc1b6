"""The report: the HTML page with its figures, and tables for the terminal."""

import cllora.reports.sections  # noqa: F401 (registers them)
from cllora.errors import deprecated
from cllora.reports.alpha import sentences
from cllora.reports.facts import (
    Answers,
    Change,
    Comparison,
    Count,
    Fact,
    Interval,
    Mean,
    NotMeasured,
    Range,
    Share,
    Statement,
    Tally,
    Trend,
    effect,
)
from cllora.reports.figure import Figure, LegendEntry, Plot
from cllora.reports.figures import Runs, figures
from cllora.reports.mixes import inspection_view, partition_view
from cllora.reports.page import drawn, report
from cllora.reports.plan import plan_rows, plan_view
from cllora.reports.say import interval, say
from cllora.reports.section import Bars, Dots, Forest, Heatmap, Lines, Section, sections
from cllora.reports.terminal import result_rows, results_table, verdict_rows

__all__ = [
    "Answers",
    "Bars",
    "Change",
    "Comparison",
    "Count",
    "Dots",
    "Fact",
    "Figure",
    "Forest",
    "Heatmap",
    "Interval",
    "LegendEntry",
    "Lines",
    "Mean",
    "NotMeasured",
    "Plot",
    "Range",
    "Runs",
    "Section",
    "Share",
    "Statement",
    "Tally",
    "Trend",
    "drawn",
    "effect",
    "figures",
    "inspection_view",
    "interval",
    "partition_view",
    "plan_rows",
    "plan_view",
    "report",
    "result_rows",
    "results_table",
    "say",
    "sections",
    "sentences",
    "verdict_rows",
]


def __getattr__(name: str) -> object:
    """The entry of a legend under its name of 0.1.0, for users' files that draw a section themselves."""
    if name == "Key":
        deprecated("cllora.reports.Key", "cllora.reports.LegendEntry")
        return LegendEntry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
