"""All of it in one table."""

import pandas as pd

from cllora.analysis import Results
from cllora.metrics import NATS, Metric, Place, metrics
from cllora.metrics.formats import level
from cllora.reports import notes
from cllora.reports.facts import Interval, Mean, effect_on_clients
from cllora.reports.notes import BY_WHAT
from cllora.reports.section import Section, sections
from cllora.spec import PRIMARY


@sections.register(title="Results", after="effects")
def results(results: Results) -> Section:
    """Every cell in one row: means over its finished seeds (where none is finished, over all it has), with the standard
    deviation over seeds where there are several. Losses in nats per token. Worst tenth: the clients that training
    helped least. Jain's index of loss over base loss is 1 where all clients are helped in the same proportion."""
    return Section(
        facts=(effect_on_clients(results, "change_worst_tenth", "excess_worst_tenth"),),
        table=result_table(results, "table"),
        file=results.summary,
        notes=(notes.leaks(results), notes.other_tests(results), _weak(results)),
    )


def result_table(results: Results, place: Place) -> pd.DataFrame:
    """A row per cell with the metrics of a place of which anything was measured, the main one beside its difference to
    the control; losses with their standard deviation over seeds."""
    shown = [metric for metric in metrics.shown_in(place) if results.averaged[metric.name].notna().any()]
    if place == "terminal":
        shown = [metric for metric in shown if _is_told(metric, results.tested_alike)]
    rows = []
    for cell in results.cells:
        row: dict[str, object] = {"cell": cell, "finished_seeds": finished_seeds(results, cell)}
        for metric in shown:
            mean = Mean.over(results.averaged.loc[results.averaged["cell"] == cell, metric.name])
            row[metric.name] = mean if metric.format is NATS.show else mean.value
            if metric.name == PRIMARY:
                row |= {"difference": difference(results, cell), "answer": _answer(results, cell)}
        rows.append(row)
    return pd.DataFrame(rows)


def _is_told(metric: Metric, tested_alike: bool) -> bool:
    """Whether there is room for a metric: those of clients' own texts where they are the same everywhere, else those
    that set a run against its control on shared ones."""
    return tested_alike if metric.texts == "own" else not (metric.against_control and tested_alike)


def finished_seeds(results: Results, cell: str) -> str:
    """The number of finished seeds of a cell, with that of the study where it is another: `3`, or `1 of 3`."""
    whole = int((results.metrics.query("cell == @cell")["progress"] == "finished").sum())
    asked = len({*results.seeds, *results.asked_seeds})
    return str(whole) if whole == asked else f"{whole} of {asked}"


def difference(results: Results, cell: str) -> Interval | str:
    """A cell's difference to its control in the primary metric, with the interval if there is one."""
    if cell in results.controls:
        return "control"
    rows = results.contrasts(PRIMARY).query("cell == @cell")
    return "–" if rows.empty else Interval(*rows.iloc[0][["difference", "low", "high"]])


def _answer(results: Results, cell: str) -> str:
    return str(next(iter(results.contrasts(PRIMARY).query("cell == @cell")["answer"]), "–"))


def _weak(results: Results) -> str:
    """The limits of the numbers."""
    if len(results.seeds) == 1:
        return "One seed: no interval can be given, and no difference told from chance."
    return (
        f"In brackets: {level(results.level)} interval of the difference, paired by seed ({BY_WHAT}), for each "
        "comparison by itself (not adjusted for there being several); the answer is adjusted."
    )
