"""The plan of a study: what it can decide and what it costs, from what was measured in a study that is like it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cllora.analysis.contrasts import LEVEL, margin_of
from cllora.analysis.tables import Results
from cllora.errors import UsageError
from cllora.metrics import metrics
from cllora.seeds import rng
from cllora.spec import Registration, Study, without_seed
from cllora.stats import Chances, chances, level_of_look, looks

EFFECTS = (0.0, 0.5, 1.0, 2.0)
"""The true differences that chances are given for, in margins."""


@dataclass(frozen=True)
class Likely:
    """The chances of one comparison's answers in a metric.

    spread: the standard deviation of differences over `seeds` seeds of what was measured. margin: in the metric's unit;
    NaN where none is known, and true differences are in spreads. chances: by the true difference, in margins.
    """

    metric: str
    cell: str
    spread: float
    seeds: int
    margin: float
    chances: Mapping[float, Chances]


@dataclass(frozen=True)
class Cost:
    """The cost of a study: of one cell, and of all of them at the first and at the last look, one after the other.

    peak_mb: the most that a process took; bytes_sent: what a cell's clients and server send. NaN where not measured.
    """

    seconds_a_cell: float
    cells: tuple[int, int]
    peak_mb: float
    bytes_sent: float


@dataclass(frozen=True)
class Plan:
    """A study's registration, with what is likely to come of it and what it costs."""

    registration: Registration
    likely: Sequence[Likely]
    cost: Cost


def planned_looks(study: Study) -> list[int]:
    """The numbers of seeds at which a study is looked at."""
    return looks(study.until.most, study.until.first) if study.until else [len(study.seeds)]


def check_control(study: Study) -> None:
    """Make sure that a study has something to decide.

    Raises:
        UsageError: it has no control.
    """
    if not study.control:
        raise UsageError("a study without a control compares nothing; give control, and plan what is compared with it")


def plan_of(study: Study, measured: Results) -> Plan:
    """The plan of a study from the results of one that is like it, or of its pilot.

    Raises:
        UsageError: the study has no control; or what was measured has no two pairs of runs to take a spread from.
    """
    check_control(study)
    planned = planned_looks(study)
    gains = (-measured.averaged.loc[measured.averaged["cell"].isin(measured.controls), "change"]).tolist()
    margin = margin_of(gains, study.margin)
    registration = Registration(
        made=time.strftime("%Y-%m-%d"),
        primary=study.primary,
        comparisons=_comparisons(study),
        margin=None if math.isnan(margin) else float(f"{margin:.6g}"),
        looks=tuple(planned),
        level=level_of_look(len(planned)),
    ).signed()
    likely = [chance for metric in study.primary for chance in _likely(measured, metric, registration)]
    if not likely:
        names = ", ".join(study.primary)
        raise UsageError(f"{measured.name} has no two pairs of runs in {names}: nothing is known of the spread")
    return Plan(registration, likely, _cost(study, measured, registration))


def _comparisons(study: Study) -> tuple[str, ...]:
    """The cells that are set against a control, without the seed."""
    cells = [cell for cell in study.cells() if {**cell.labels, **study.control} != cell.labels]
    return tuple(dict.fromkeys(without_seed(cell.name) for cell in cells))


def _likely(measured: Results, metric: str, registration: Registration) -> list[Likely]:
    """The chances of each comparison that the measured study has, all of the plan's comparisons deciding together."""
    unit = metrics.metric(metric).unit
    stated = registration.margin if unit.of_gain else unit.margin
    margin = math.nan if stated is None else stated
    alpha = (1 - LEVEL) / len(registration.looks) / max(1, len(registration.comparisons))
    made = []
    for row in measured.comparisons(metric):
        if row.seeds > 1:
            scale = row.spread if math.isnan(margin) else margin
            by_effect = {
                effect: chances(
                    effect * scale, row.spread, margin, registration.looks, alpha, rng(0, "plan", str(effect))
                )
                for effect in EFFECTS
            }
            made.append(Likely(metric, row.cell, row.spread, row.seeds, margin, by_effect))
    return made


def _cost(study: Study, measured: Results, registration: Registration) -> Cost:
    """The cost of the study, a round costing what it did where it was measured."""
    means = measured.averaged[["seconds", "rounds", "peak_mb", "bytes_sent"]].mean()
    rounds = study.cells()[0].experiment.federation.num_rounds / max(1.0, float(means["rounds"]))
    settings = len({without_seed(cell.name) for cell in study.cells()})
    cells = (registration.looks[0] * settings, registration.looks[-1] * settings)
    seconds, sent = float(means["seconds"]) * rounds, float(means["bytes_sent"]) * rounds
    return Cost(seconds, cells, float(means["peak_mb"]), sent)
