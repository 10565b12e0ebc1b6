"""Any folder of runs, read into tidy tables that the figures group and draw."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cllora import measure, store
from cllora.errors import UsageError
from cllora.registry import load_plugins
from cllora.reports import labels
from cllora.spec import Experiment, Study, axis_text
from cllora.types import Partition

log = logging.getLogger("cllora")


@dataclass(frozen=True)
class Run:
    """One run as far as it came. `labels` are its axis values as text."""

    folder: Path
    labels: Mapping[str, str]
    experiment: Experiment
    partition: Partition
    rounds: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    tables: measure.Tables
    outcome: Mapping[str, float]

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def fingerprint(self) -> str:
        """What tells this run's data from other data; empty if it was not recorded."""
        return str(self.environment.get("data", {}).get("fingerprint", ""))

    @property
    def finished(self) -> bool:
        return bool(self.outcome["rounds"] >= self.experiment.federation.num_rounds)


@dataclass(frozen=True)
class Runs:
    """All runs of a folder. A *cell* is a setting of the axes, the same over seeds, such as `alpha = 0.1`.

    `axes` are the fields that differ between runs, by the name they are shown under; `control` the axis values that
    others are compared with (empty: there is none); `missing` the cells of the study that hold no round yet, and
    `asked_seeds` its seeds.
    """

    name: str
    axes: Mapping[str, str]
    control: Mapping[str, str]
    members: Sequence[Run]
    missing: Sequence[str] = ()
    asked_seeds: Sequence[int] = ()

    def cell(self, labels: Mapping[str, str]) -> str:
        """A cell's name as it is shown; a run of no axis goes by the study's name."""
        return ", ".join(f"{axis} = {labels[axis]}" for axis in self.axes) or self.name

    def short(self, cell: str) -> str:
        """A cell's axis values alone, to stand at a tick of an axis that is called `axis_title`."""
        run = next(run for run in self.members if self.cell(run.labels) == cell)
        return ", ".join(run.labels.values()) or cell

    @property
    def axis_title(self) -> str:
        return ", ".join(self.axes)

    @property
    def against(self) -> str:
        """What others are compared with, in the words of the control alone: `alpha = iid`."""
        return ", ".join(f"{axis} = {value}" for axis, value in self.control.items())

    @cached_property
    def cells(self) -> list[str]:
        return list(dict.fromkeys(self.cell(run.labels) for run in self.members))

    @cached_property
    def controls(self) -> list[str]:
        """The cells that others are compared with."""
        chosen = [run for run in self.members if self.control and {**run.labels, **self.control} == dict(run.labels)]
        return list(dict.fromkeys(self.cell(run.labels) for run in chosen))

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.members})

    @property
    def first(self) -> list[Run]:
        """One run of every cell: its first seed's."""
        return [next(run for run in self.members if self.cell(run.labels) == cell) for cell in self.cells]

    @cached_property
    def class_names(self) -> list[str]:
        """What the classes of texts are called, from the first to the last."""
        return labels.class_names([run.partition for run in self.members])

    @cached_property
    def feature(self) -> str:
        """What the classes are classes of, such as `length in characters`."""
        asked = [run.experiment.partition for run in self.members]
        return " or ".join(dict.fromkeys(labels.feature_text(each.by, each.residual_on) for each in asked))

    @property
    def classed(self) -> tuple[str, ...]:
        """A note on what the classes are, if there are any."""
        if self.class_names == ["all texts"]:
            return ()
        apart = "; runs cut them at different points" if self.class_names[0].startswith("class 1") else ""
        return (f"Classes are by {self.feature}{apart}.",)

    def frame(self, table: str) -> pd.DataFrame:
        """One of `cllora.measure.Tables` (curve, classes, ...) of all runs, the columns cell and seed put first."""
        parts = []
        for run in self.members:
            part: pd.DataFrame = getattr(run.tables, table)
            part = part.assign(cell=self.cell(run.labels), seed=run.seed)
            parts.append(part[["cell", "seed", *part.columns[:-2]]])
        filled = [part for part in parts if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else parts[0]

    def final(self, table: str) -> pd.DataFrame:
        """`frame`, the last evaluated round only of each run that counts (see `counted`)."""
        rows = self.counted(self.frame(table))
        last: pd.DataFrame = rows[rows["round"] == rows.groupby(["cell", "seed"])["round"].transform("max")]
        return last

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of the runs that a cell's means are over: the finished ones, or if there are none all it has."""
        whole = self.outcomes["progress"] == "finished"
        counts = whole | ~whole.groupby(self.outcomes["cell"]).transform("any")
        wanted = pd.MultiIndex.from_frame(self.outcomes.loc[counts, ["cell", "seed"]])
        return rows[pd.MultiIndex.from_frame(rows[["cell", "seed"]]).isin(wanted)]

    @cached_property
    def results(self) -> pd.DataFrame:
        """`outcomes` of the runs that count (see `counted`): what means are taken of."""
        return self.counted(self.outcomes)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """A row per run: cell, the axes, seed, progress (`finished`, or the last round), its data's fingerprint, its
        outcomes, and how soon it was as good as its control (`cllora.measure.rounds_to_control`)."""
        found = pd.DataFrame(
            [
                {
                    "cell": self.cell(run.labels),
                    **run.labels,
                    "seed": run.seed,
                    "progress": "finished" if run.finished else f"round {run.outcome['rounds']}",
                    "fingerprint": run.fingerprint,
                    **run.outcome,
                }
                for run in self.members
            ]
        )
        curves = [run.tables.curve for run in self.members]
        return found.join(measure.rounds_to_control(found, curves, list(self.axes), self.control))

    def contrasts(self, metric: str, outcomes: pd.DataFrame | None = None) -> pd.DataFrame:
        """`cllora.measure.contrasts` of one outcome, with the columns cell and control (names of cells) and
        against (what sets the control apart) before it.

        `outcomes` may be given to compare another number per run than those of `outcomes`. Of it, as of these, only
        the runs that count are compared.
        """
        runs = self.results if outcomes is None else self.counted(outcomes)
        found = measure.contrasts(runs, list(self.axes), self.control, metric)
        labels = [dict(zip(self.axes, values, strict=True)) for values in found[list(self.axes)].to_numpy()]
        found.insert(0, "cell", [self.cell(each) for each in labels])
        found.insert(1, "control", [self.cell({**each, **self.control}) for each in labels])
        found.insert(2, "against", self.against)
        return found


def read_runs(folder: Path) -> Runs:
    """The runs in a study's folder, in the study's order; or, without `study.json`, all runs below a folder.

    Then the axes are the experiments' fields that differ (the seed apart), and the control is `iid` if an axis
    has that value. Runs without a single evaluated round are listed as missing.

    A study's own files (`load:`) are run, so that its figures are in the report; without them it is made all the same.

    Raises:
        UsageError: there is no run, or none with a round; or a run is there twice.
    """
    if (folder / "study.json").is_file():
        study = Study.parse(store.read_json(folder / "study.json"))
        _load_what_can_be(study)
        name, paths = study.name, list(study.grid)
        written, asked_seeds = dict(study.control), study.seeds
        wanted = [(folder / cell.name, cell.labels) for cell in study.cells()]
    else:
        asked_seeds = ()
        found = sorted(path.parent for path in folder.rglob("spec.json"))
        experiments = [store.read_experiment(each) for each in found]
        name, (paths, settings) = folder.resolve().name, _differing(experiments)
        wanted = sorted(zip(found, settings, strict=True), key=lambda pair: _order(pair[1]))
        written = {path: "iid" for path in paths if any(labels[path] == "iid" for labels in settings)}
    shown = _shown(paths)
    runs = [
        _read_run(path, {shown[axis]: axis_text(value) for axis, value in labels.items()})
        for path, labels in wanted
        if _has_round(path)
    ]
    if not runs:
        raise UsageError(f"{folder} holds no run with a finished round; give a folder made by `cllora run --out`")
    _check_distinct(runs)
    control = {shown[axis]: axis_text(value) for axis, value in written.items()}
    return Runs(
        name=name,
        axes={shown[path]: path for path in paths},
        control=control if any({**run.labels, **control} == run.labels for run in runs) else {},
        members=runs,
        missing=[path.name for path, _ in wanted if not _has_round(path)],
        asked_seeds=asked_seeds,
    )


def _load_what_can_be(study: Study) -> None:
    for file in study.base.load:
        try:
            load_plugins([file])
        except UsageError as error:
            log.warning("%s; the report is made without it", error)


def _check_distinct(runs: Sequence[Run]) -> None:
    """A copy of a run would pass for another seed, and make the doubt look smaller than it is."""
    seen: dict[str, Path] = {}
    for run in runs:
        first = seen.setdefault(run.experiment.id, run.folder)
        if first != run.folder:
            raise UsageError(f"{first} and {run.folder} are the same run; move one of them out of the folder")


def _has_round(folder: Path) -> bool:
    return bool(store.read_rounds(folder)) and (folder / "partition.parquet").exists()


def _read_run(folder: Path, labels: Mapping[str, str]) -> Run:
    partition, rounds = store.read_partition(folder), store.read_rounds(folder)
    losses = store.read_losses(folder)
    losses = losses[losses["round"] <= rounds[-1]["round"]]  # what is beyond was cut off while being written
    tables = measure.tables(losses, partition)
    recorded = folder / "environment.json"
    environment = store.read_json(recorded) if recorded.exists() else {}
    return Run(
        folder=folder,
        labels=labels,
        experiment=store.read_experiment(folder),
        partition=partition,
        rounds=rounds,
        environment=environment,
        tables=tables,
        outcome=measure.outcomes(tables, rounds, environment.get("communication", {}).get("full_bytes")),
    )


def _differing(experiments: Sequence[Experiment]) -> tuple[list[str], list[dict[str, Any]]]:
    """The fields `section.field` in which experiments differ, and each experiment's values of them."""
    fields = [_fields(experiment) for experiment in experiments]
    every = list(dict.fromkeys(path for each in fields for path in each))
    differ = [path for path in every if len({json.dumps(each.get(path)) for each in fields}) > 1]
    return differ, [{path: each.get(path) for path in differ} for each in fields]


def _fields(experiment: Experiment) -> dict[str, Any]:
    sections = experiment.model_dump(mode="json", exclude={"seed"})
    return {
        path: value
        for section, inner in sections.items()
        for path, value in (
            ((f"{section}.{field}", v) for field, v in inner.items()) if isinstance(inner, dict) else [(section, inner)]
        )
    }


def _order(labels: Mapping[str, Any]) -> list[tuple[bool, float, str]]:
    """Numbers by size, then words."""
    return [(False, float(v), "") if isinstance(v, int | float) else (True, 0.0, axis_text(v)) for v in labels.values()]


def _shown(paths: Sequence[str]) -> dict[str, str]:
    """Axis paths to short names: partition.alpha to alpha, model.name to model; the path itself if two would clash."""
    short = {path: path.removesuffix(".name").split(".")[-1] for path in paths}
    return {path: s if list(short.values()).count(s) == 1 else path for path, s in short.items()}
