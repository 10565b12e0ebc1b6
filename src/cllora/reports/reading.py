"""Any folder of runs, read from disk as far as they came."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cllora import measure, store
from cllora.errors import UsageError
from cllora.registry import load_plugins
from cllora.reports.runs import Run, Runs
from cllora.spec import Experiment, Study, axis_text

log = logging.getLogger("cllora")


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
        failed={path.name: _reason(path) for path, _ in wanted if (path / store.FAILED).is_file()},
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


def _reason(folder: Path) -> str:
    return str(store.read_json(folder / store.FAILED)["error"])


def _read_run(folder: Path, labels: Mapping[str, str]) -> Run:
    partition, rounds = store.read_partition(folder), store.read_rounds(folder)
    losses = store.read_losses(folder)
    losses = losses[losses["round"] <= rounds[-1]["round"]]  # what is beyond was cut off while being written
    tables = measure.tables(losses, partition)
    environment = store.read_environment(folder)
    probes = store.ProbeTables(folder)
    return Run(
        folder=folder,
        labels=labels,
        experiment=store.read_experiment(folder),
        partition=partition,
        rounds=rounds,
        environment=environment,
        tables=tables,
        outcome=measure.outcomes(tables, rounds, environment.communication.full_bytes, probes.get("loss_surface")),
        probes=probes,
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
