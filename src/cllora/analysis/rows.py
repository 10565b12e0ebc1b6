"""The rows of the table of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cllora.analysis.pairing import control_values
from cllora.analysis.run import Run
from cllora.metrics import metrics


def described(run: Run) -> dict[str, Any]:
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
