"""All of it in one table."""

import pandas as pd

from cllora.metrics import Metric, metrics
from cllora.reports import labels, words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Runs


@figures.register()
def results(runs: Runs) -> Figure:
    """Every cell in one row: means over its finished seeds (where none is finished, over all it has), with the standard
    deviation over seeds where there are several. Losses in nats per token. Worst tenth: the clients that training
    helped least. Jain's index of loss over base loss is 1 where all clients are helped in the same proportion."""
    return Figure(
        title="Results",
        conclusion=words.effect(runs, "change_worst_tenth", "the change of loss for the worst tenth of clients"),
        table=runs.summary,
        shown=pd.DataFrame([result_row(runs, cell) for cell in runs.cells]),
        notes=_weak(runs),
    )


def result_row(runs: Runs, cell: str) -> dict[str, str]:
    """One cell's results as text: the catalogue's metrics that anything was measured of."""
    rows = runs.averaged[runs.averaged["cell"] == cell]
    shown = [metric for metric in metrics.shown_in("table") if runs.averaged[metric.name].notna().any()]
    return {
        "cell": cell,
        "finished seeds": finished_seeds(runs, cell),
        "difference to control": to_control(runs, cell),
        "answer": next(iter(runs.contrasts("final_loss").query("cell == @cell")["answer"]), "–"),
        **{heading(metric): over_seeds(rows[metric.name], metric) for metric in shown},
    }


def heading(metric: Metric) -> str:
    """A metric's title, with its unit where the values are counted in another."""
    return metric.title if metric.unit.scale == 1 else f"{metric.title} ({metric.unit.name})"


def finished_seeds(runs: Runs, cell: str) -> str:
    """How many seeds of a cell are finished, and of how many in the study: `3`, or `1 of 3`."""
    whole = int((runs.metrics.query("cell == @cell")["progress"] == "finished").sum())
    asked = len({*runs.seeds, *runs.asked_seeds})
    return str(whole) if whole == asked else f"{whole} of {asked}"


def over_seeds(values: "pd.Series[float]", metric: Metric) -> str:
    """Mean and, where seeds differ, the sample standard deviation: `3.142 ± 0.011`."""
    doubt = f" ± {metric.format(values.std()).removeprefix('+')}" if values.nunique() > 1 else ""
    return f"{metric.format(values.mean())}{doubt}"


def to_control(runs: Runs, cell: str) -> str:
    """A cell's difference in final global loss to its control, with the interval if there is one."""
    if cell in runs.controls:
        return "control"
    found = runs.contrasts("final_loss").query("cell == @cell")
    if found.empty:
        return "–"
    return words.with_interval(*found.iloc[0][["difference", "low", "high"]])


def _weak(runs: Runs) -> tuple[str, ...]:
    """What the numbers cannot carry."""
    leaking = labels.leak_note(runs.leaking)
    if len(runs.seeds) == 1:
        return (*leaking, "One seed: no interval can be given, and no difference told from chance.")
    return (
        *leaking,
        "In brackets: 95 % t interval of the difference, paired by seed, for each comparison by itself "
        "(not adjusted for there being several); the answer is adjusted.",
    )
