"""The contrasts that claims are judged by: runs of equal seed that differ in one thing, over seeds."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cllora.analysis import Results, Run, margin_of
from cllora.errors import UsageError
from cllora.metrics import MARGIN, RunRecord, metrics

MetricFunction = Callable[[RunRecord], float] | Callable[[RunRecord, RunRecord], float]
"""A number of a run; or, with a second argument, of a run and its control."""

Measured = str | MetricFunction
"""A registered metric by its name, or a function that is a metric of one claim alone."""


@dataclass(frozen=True)
class Contrast:
    """A contrast: runs of equal seed that differ in one thing.

    name: tells it from the others of its claim.
    replicates: the runs of one seed each. Two are a run and its control. Four are two such pairs: the difference in
        the first minus that in the second. One alone is itself compared with a bound (the rule `at least`).
    cells: those that the runs are of; they are there also where no seed has all the runs yet.
    """

    name: str
    replicates: Sequence[Sequence[Run]]
    cells: tuple[str, ...]

    def margin(self, share: float) -> float:
        """A share of what training gained in the controls; NaN without them."""
        controls = [run for runs in self.replicates if len(runs) > 1 for run in runs[1::2]]
        return margin_of([-run.outcome["change"] for run in controls], share)

    def values(self, measured: Measured) -> list[float]:
        """The contrast in a metric, a number for each seed; NaN where it was not measured."""
        number, arguments = _function(measured)
        return [self._value(number, arguments, runs) for runs in self.replicates]

    def _value(self, number: Callable[..., float], arguments: int, runs: Sequence[Run]) -> float:
        if len(runs) == arguments:
            return number(*runs)
        if len(runs) == 2 * arguments:
            middle = len(runs) // 2
            return number(*runs[:middle]) - number(*runs[middle:])
        if len(runs) == 4:
            return self._value(number, arguments, runs[:2]) - self._value(number, arguments, runs[2:])
        raise UsageError(f"'{self.name}' has {len(runs)} runs of a seed; give a run and its control, or two such pairs")


def _function(measured: Measured) -> tuple[Callable[..., float], int]:
    """A metric as a function, and how many runs it takes: one, or a run and its control."""
    if not isinstance(measured, str):
        return measured, len(inspect.signature(measured).parameters)
    metric = metrics.metric(measured)
    if metric.against_control:
        return metric.value, 2
    return lambda run: run.outcome[measured], 1


@dataclass(frozen=True)
class Evidence:
    """The evidence that a claim is judged by.

    contrasts: each must bear the claim out; none: the study has no cells for it.
    beside: contrasts that decide nothing and are told too.
    remark: what is to be said beside the verdict.
    lacking: why it cannot be tested, where that is known.
    not_applicable: why such a study says nothing of the claim, whatever comes out; it has no verdict then.
    """

    contrasts: Sequence[Contrast] = ()
    beside: Sequence[Contrast] = ()
    remark: str = ""
    lacking: str = ""
    not_applicable: str = ""


@dataclass(frozen=True)
class Comparison:
    """A contrast in one metric: its numbers, one for each seed, NaN where it was not measured; and its margin, NaN
    where none is known."""

    name: str
    differences: Sequence[float]
    cells: tuple[str, ...]
    margin: float = math.nan


def compared(
    contrasts: Sequence[Contrast],
    measured: Mapping[str, Measured],
    margin: float | None,
    share: float = MARGIN,
    in_full: bool = False,
) -> list[Comparison]:
    """Every contrast in every metric; a comparison is called by the metric's name and, where there are several or
    `in_full`, by the contrast's.

    Args:
        margin: differences smaller than this count as none; None: a share of what training gained in the controls.
    """
    in_full = in_full or len(contrasts) > 1
    return [
        Comparison(
            ", ".join(part for part in (name, contrast.name if in_full or not name else "") if part),
            contrast.values(metric),
            contrast.cells,
            contrast.margin(share) if margin is None else margin,
        )
        for contrast in contrasts
        for name, metric in measured.items()
    ]


def against_control(results: Results) -> list[Contrast]:
    """Every cell against the study's control: finished runs of equal seed on the same data; no cell that leaks."""
    cells: dict[str, list[Run]] = {}
    for run in results.members:
        cells.setdefault(results.cell(run.labels), []).append(run)
    made = []
    for cell, runs in cells.items():
        control = results.cell({**runs[0].labels, **results.control})
        if control != cell and control in cells and not {cell, control} & set(results.leaking):
            made.append(Contrast(cell, paired(runs, cells[control]), (cell, control)))
    return made


def paired(runs: Sequence[Run], controls: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Finished runs, each with the control's of its seed on the same data."""
    by_seed = {control.seed: control for control in controls}
    pairs = [(run, by_seed[run.seed]) for run in runs if run.seed in by_seed]
    return [(a, b) for a, b in pairs if a.finished and b.finished and a.fingerprint == b.fingerprint]


def difference(larger: Contrast, smaller: Contrast) -> Contrast:
    """The difference of two contrasts, by seed."""
    firsts, seconds = ({runs[0].seed: runs for runs in contrast.replicates} for contrast in (larger, smaller))
    both = [(*firsts[seed], *seconds[seed]) for seed in sorted(firsts.keys() & seconds.keys())]
    return Contrast(f"{larger.cells[0]} against {smaller.cells[0]}", both, (*smaller.cells, *larger.cells))
