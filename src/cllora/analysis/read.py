"""Any folder of runs, read from disk as far as they came."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from cllora import store
from cllora.analysis.contrasts import LEVEL
from cllora.analysis.plan import planned_looks
from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.errors import UsageError
from cllora.metrics import MARGIN, RunRecord, measured, metrics
from cllora.metrics.losses import tables
from cllora.registry import load_plugins
from cllora.spec import Cell, Experiment, Registration, Study, axis_text
from cllora.stats import level_after, level_of_look

log = logging.getLogger("cllora")


def results(folder: Path | str, load: Iterable[Path | str] = (), before: Results | None = None) -> Results:
    """Read the runs in a study's folder, in the study's order; or, without `study.json`, all runs below a folder.

    Then the axes are the experiments' fields that differ (the seed apart), and the control is `iid` if an axis
    has that value. Runs without a single evaluated round are listed as missing.

    Args:
        folder: of a study, of a single run, or with runs somewhere below it.
        load: your own Python files, run first, so that the metrics that they register are among the results. So are
            those that the study names in `load:`; where one of these cannot be run, a warning says so.
        before: what was read of the folder earlier: a run that was finished by then is not read again.

    Raises:
        UsageError: there is no run, or none with a round; a run is there twice; or a file of `load` cannot be run.
    """
    folder = Path(folder)
    load_plugins(str(file) for file in load)
    if (folder / "study.json").is_file():
        study = Study.parse(store.read_json(folder / "study.json"))
        _load_what_can_be(study)
        name, paths, margin = study.name, list(study.grid), study.margin
        written, registration = dict(study.control), _as_signed(study.registration)
        cells, level = _looked_at(study, store.read_looks(folder))
        asked_seeds = sorted({cell.experiment.seed for cell in cells})
        wanted = [(folder / cell.name, cell.labels) for cell in cells if not cell.experiment.redraw]
        again = [(folder / cell.name, cell.labels) for cell in cells if cell.experiment.redraw]
    else:
        asked_seeds, margin, level, registration = [], MARGIN, LEVEL, None
        places = sorted(path.parent for path in folder.rglob("spec.json"))
        experiments = [store.read_experiment(place) for place in places]
        name, (paths, settings) = folder.resolve().name, _differing(experiments)
        wanted = sorted(zip(places, settings, strict=True), key=lambda pair: _order(pair[1]))
        written = {path: "iid" for path in paths if any(labels[path] == "iid" for labels in settings)}
        again = []
    shown, every = _shown(paths), [path for path, _ in (*wanted, *again)]
    finished = {run.folder: run for run in ((*before.members, *before.again) if before else ()) if run.finished}
    runs, drawn_again = (_read_runs(places, shown, finished) for places in (wanted, again))
    read = {run.folder for run in (*runs, *drawn_again)}
    if not runs:
        raise UsageError(f"{folder} holds no run with a finished round; give a folder made by `cllora run --out`")
    _check_distinct(runs)
    control = {shown[axis]: axis_text(value) for axis, value in written.items()}
    return Results(
        name=name,
        axes={shown[path]: path for path in paths},
        control=control if any({**run.labels, **control} == run.labels for run in runs) else {},
        members=runs,
        again=drawn_again,
        missing=[path.name for path in every if path not in read],
        failed={path.name: _reason(path) for path in every if (path / store.FAILED).is_file()},
        asked_seeds=asked_seeds,
        margin=margin,
        level=level,
        registration=registration,
    )


def _as_signed(registration: Registration | None) -> Registration | None:
    """A study's registration, unless it was changed since it was signed."""
    if registration is not None and registration.digest != registration.hashed:
        log.warning("the registration in study.json was changed after it was made: everything counts as exploratory")
        return registration.model_copy(update={"comparisons": ()})
    return registration


def _looked_at(study: Study, seen: store.Looks) -> tuple[list[Cell], float]:
    """The cells that count at the last look at a study, and the level of its intervals.

    Seeds beyond the last look of a study that goes on until it is decided do not count before the next: to look at them
    between would be one look more than was planned.
    """
    if study.until is None:
        earlier = [number for number in seen.at if number != len(study.seeds)]
        return study.cells(), level_after(len(earlier))
    planned = planned_looks(study)
    last = seen.at[-1] if seen.at and seen.planned == len(planned) else planned[0]
    counted = [cell for cell in study.cells() if cell.experiment.seed < seen.seeds_of(cell.setting, last)]
    return counted, level_of_look(len(planned))


def read_record(folder: Path) -> RunRecord:
    """Read the record of one run, as far as it came.

    Raises:
        UsageError: it holds no round, or a file is damaged.
    """
    partition, rounds = store.read_partition(folder), store.read_rounds(folder)
    losses = store.read_losses(folder)
    losses = losses[losses["round"] <= rounds[-1]["round"]]  # what is beyond was cut off while being written
    return RunRecord(
        folder=folder,
        experiment=store.read_experiment(folder),
        partition=partition,
        rounds=rounds,
        tables=tables(losses, partition),
        environment=store.read_environment(folder),
        costs=_if_there(folder / "costs.json"),
        probes=store.ProbeTables(folder),
    )


def _if_there(path: Path) -> store.Object:
    return store.read_json(path) if path.exists() else {}


def _read_run(folder: Path, labels: Mapping[str, str]) -> Run:
    record = read_record(folder)
    parts = {field.name: getattr(record, field.name) for field in fields(record)}
    return Run(**parts, labels=labels, outcome=measured(record))


def _read_runs(
    places: Iterable[tuple[Path, Mapping[str, object]]], shown: Mapping[str, str], finished: Mapping[Path, Run]
) -> list[Run]:
    """The runs that hold a round, by the values of the axes as they are shown; those that are `finished` were read."""
    return [
        finished.get(path) or _read_run(path, {name: axis_text(labels[axis]) for axis, name in shown.items()})
        for path, labels in places
        if path in finished or _has_round(path)
    ]


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


def _differing(experiments: Sequence[Experiment]) -> tuple[list[str], list[dict[str, object]]]:
    """The fields `section.field` in which experiments differ, and each experiment's values of them."""
    fields = [_fields(experiment) for experiment in experiments]
    every = list(dict.fromkeys(path for flat in fields for path in flat))
    differ = [path for path in every if len({json.dumps(flat.get(path)) for flat in fields}) > 1]
    return differ, [{path: flat.get(path) for path in differ} for flat in fields]


def _fields(experiment: Experiment) -> dict[str, object]:
    sections = experiment.model_dump(mode="json", exclude={"seed"})
    return {
        path: value
        for section, inner in sections.items()
        for path, value in (
            ((f"{section}.{field}", v) for field, v in inner.items()) if isinstance(inner, dict) else [(section, inner)]
        )
    }


def _order(labels: Mapping[str, object]) -> list[tuple[bool, float, str]]:
    """Numbers by size, then words."""
    return [(False, float(v), "") if isinstance(v, int | float) else (True, 0.0, axis_text(v)) for v in labels.values()]


def _shown(paths: Sequence[str]) -> dict[str, str]:
    """Axis paths to short names, without their section: partition.alpha to alpha, model.name to model; the path itself
    where the short name is that of two, or of a metric."""
    short = {path: path.removesuffix(".name").partition(".")[2] or path for path in paths}
    taken = [*short.values(), *metrics.names()]
    return {path: name if taken.count(name) == 1 else path for path, name in short.items()}
