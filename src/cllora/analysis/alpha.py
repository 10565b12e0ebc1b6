"""Effects by alpha: the curves that a study measured, one for every setting of its other axes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cllora.analysis.names import feature_text
from cllora.analysis.read import results as read
from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.errors import UsageError
from cllora.spec import PRIMARY, Choice, axis_text
from cllora.types import Array

ALPHA = "partition.alpha"


@dataclass(frozen=True)
class Curve:
    """The effects that were measured at several alphas, all else equal; arrays (M,) by ascending alpha, all finite.

    `difference` is the global loss, mean of the last half of the rounds, minus that of `iid`, in nats per token, with
    its interval (NaN with one seed). `setting` says what else sets these runs apart from others of the study;
    `measured_on` what they ran on.
    """

    scheme: str
    by: Choice
    at_equal_length: bool
    classes: int
    alphas: Array
    difference: Array
    low: Array
    high: Array
    seeds: int
    setting: str
    measured_on: str

    @property
    def subject(self) -> str:
        if self.scheme == "quantity":
            return "quantity"
        return feature_text(self.by) + (" made independent of length" if self.at_equal_length else "")

    def between(self, alpha: float) -> tuple[float, float, float]:
        """The difference and its interval at an alpha between measured ones: linear in log alpha.

        Ends of intervals that are joined by a line are never too narrow for the joined differences, as the deviation of
        a weighted mean is at most the weighted mean of the deviations.
        """
        places = math.log(alpha), np.log(self.alphas)
        difference, low, high = (float(np.interp(*places, y)) for y in (self.difference, self.low, self.high))
        return difference, low, high

    def over(self, low: float, high: float) -> list[float]:
        """The differences at the ends of an interval of alpha and at all that were measured within it; zero at iid.

        Of what lies beyond the measured alphas nothing is known, and of an interval outside of them nothing at all.
        """
        start, stop = max(low, float(self.alphas[0])), min(high, float(self.alphas[-1]))
        if start >= stop:
            return []
        inside = self.alphas[(start < self.alphas) & (self.alphas < stop)]
        differences = [self.between(alpha)[0] for alpha in (start, *inside, stop)]
        return [*differences, 0.0] if math.isinf(high) else differences


def curves_of(folder: Path) -> list[Curve]:
    """The curves of effect over alpha in a folder of runs, one for every setting of the study's other axes.

    Raises:
        UsageError: there are no runs, alpha was not varied against `iid`, or with a scheme that has no alpha here.
    """
    results = read(folder)
    axis = results.axis(ALPHA)
    if axis is None:
        raise UsageError(f"{folder} does not vary {ALPHA}, so it has no effects by alpha")
    if results.control.get(axis) != "iid":
        raise UsageError(f"{folder} does not compare with {ALPHA}: iid, so it has no effects against no skew")
    curves = list(_curves(results, axis))
    if not curves:
        raise UsageError(f"{folder} has no finite alpha yet whose runs can be compared with those at iid")
    unknown = {curve.scheme for curve in curves} - {"client_mix", "quantity"}
    if unknown:
        raise UsageError(
            f"{folder} is of scheme {' and '.join(sorted(unknown))}: owners are put on the scale of client_mix and "
            "quantity, which skew one thing alone"
        )
    return curves


def _curves(results: Results, axis: str) -> Iterator[Curve]:
    table = results.contrasts(PRIMARY).dropna(subset=["difference"])
    table = table[(table["seeds"] > 0) & (table[axis] != "iid")]
    others = [name for name in results.axes if name != axis]
    for name in {*others} & {*results.control}:  # What differs from the control in more than alpha is no effect of it.
        table = table[table[name] == results.control[name]]
    for _, rows in table.groupby(others, sort=False) if others else [("", table)]:
        if rows.empty:
            continue
        rows = rows.assign(at=rows[axis].astype(float)).sort_values("at")
        labels = {name: str(rows[name].iloc[0]) for name in others}
        run = next(run for run in results.members if labels.items() <= run.labels.items() and run.labels[axis] != "iid")
        partition = run.experiment.partition
        yield Curve(
            scheme=partition.scheme,
            by=partition.by,
            at_equal_length=partition.residual_on is not None,
            classes=partition.classes,
            **{name: rows[name].to_numpy(float) for name in ("difference", "low", "high")},
            alphas=rows["at"].to_numpy(float),
            seeds=int(rows["seeds"].min()),
            setting=", ".join(f"{name} = {value}" for name, value in labels.items()),
            measured_on=_measured_on(run),
        )


def _measured_on(run: Run) -> str:
    data = run.experiment.data
    source = data.corpus.name if data.corpus is not None else axis_text(data.path or data.hub)
    return f"{run.experiment.model.name}, {source}, {run.experiment.partition.num_clients} clients"
