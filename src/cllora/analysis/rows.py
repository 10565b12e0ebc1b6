"""The rows of the table of runs."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cllora.analysis.pairing import control_values
from cllora.analysis.run import Run
from cllora.metrics import metrics
from cllora.spec import Registration, without_seed


def described(run: Run) -> dict[str, object]:
    """The columns of `Results.metrics` that are no metrics, but the cell."""
    return {
        **run.labels,
        "seed": run.seed,
        "progress": "finished" if run.finished else f"round {run.last_round}",
        "fingerprint": run.fingerprint,
        "tests": run.tests_fingerprint,
    }


def with_relative(
    rows: pd.DataFrame, runs: Sequence[Run], axes: Sequence[str], control: Mapping[str, str]
) -> pd.DataFrame:
    """The rows of runs with the metrics that are `against_control` too, NaN without a control; metrics stand last, in
    the order of their registry."""
    place = control_values(rows.assign(_at=range(len(rows))), axes, control, "_at")
    controls = [None if pd.isna(at) else runs[int(at)] for at in place]
    relative = {
        metric.name: [
            float("nan") if even is None else float(metric.value(run, even))
            for run, even in zip(runs, controls, strict=True)
        ]
        for metric in metrics.every()
        if metric.against_control
    }
    about = [column for column in rows if column not in metrics.names()]
    return rows.assign(**relative)[[*about, *metrics.names()]]


def with_registered(
    compared: pd.DataFrame, metric: str, registration: Registration, first: Mapping[str, Run]
) -> pd.DataFrame:
    """The rows of comparisons with `registered`: whether each was, before the study was run. The answers of the others
    say that they are exploratory.

    Args:
        first: a run of each cell.
    """
    names = [without_seed(first[cell].folder.name) for cell in compared["cell"]]
    registered = [metric in registration.primary and name in registration.comparisons for name in names]
    answers = zip(compared["answer"], registered, strict=True)
    marked = [text if planned else f"{text}, exploratory" for text, planned in answers]
    return compared.assign(registered=registered, answer=marked)
