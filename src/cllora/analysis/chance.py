"""The differences that chance alone makes: between controls of a seed that differ in nothing but what is drawn."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cllora.analysis.tables import Results
from cllora.metrics import metrics
from cllora.stats import Numbers, estimate, interval


@dataclass(frozen=True)
class Chance:
    """The differences of a metric between a control that was drawn again and the first of its seed (an A/A test).

    by_seed: each of them (n,). difference, low, high: their typical value and its interval, which should hold zero.
    """

    metric: str
    by_seed: Numbers
    difference: float
    low: float
    high: float

    @property
    def of_one_seed(self) -> float:
        """The size that the difference of one seed alone stays below in 95 of 100 seeds: t_(n, 0.975) times the root
        mean square, as its mean is known to be zero. NaN of fewer than two."""
        n = len(self.by_seed)
        return float(stdtrit(n, 0.975) * np.sqrt((self.by_seed**2).mean())) if n > 1 else math.nan

    @property
    def is_none(self) -> bool:
        """Whether the interval holds zero, as it does in 95 of 100 studies; without one nothing speaks against it."""
        return not (self.low > 0 or self.high < 0)


def chance(results: Results, metric: str) -> Chance | None:
    """The differences that chance makes in a metric; None where no control was drawn again, or runs do not share what
    the metric is measured on."""
    if metric not in metrics.names() or metrics.metric(metric).texts == "own" or metrics.metric(metric).against_control:
        return None
    first = {(*run.labels.items(), run.seed): run for run in results.members}
    pairs = [(run, first.get((*run.labels.items(), run.seed))) for run in results.again]
    differences = np.array(
        [
            run.outcome[metric] - other.outcome[metric]
            for run, other in pairs
            if other is not None and run.finished and other.finished
        ]
    )
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return None
    return Chance(metric, differences, estimate(differences), *interval(differences, results.level))


def with_chance(results: Results, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Contrasts with a column `chance`: the size of difference that one seed shows by chance; NaN where not known."""
    measured = {metric: chance(results, metric) for metric in contrasts["metric"].unique()}
    sizes = {metric: math.nan if made is None else made.of_one_seed for metric, made in measured.items()}
    return contrasts.assign(chance=contrasts["metric"].map(sizes).astype(float))
