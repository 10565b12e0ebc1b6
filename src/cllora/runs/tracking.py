"""Trackers that are told of every round, beside the run's folder, which is written first and needs none of them.

A tracker is a function under a decorator that opens one run and yields a function for its figures. Whatever it raises
costs one warning, and the tracker; never the run.
"""

import hashlib
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeGuard

from cllora.errors import UsageError, one_line
from cllora.metrics import metrics
from cllora.probes import probes
from cllora.registry import Registry
from cllora.runs.engines import Progress
from cllora.runs.extras import how_to_install, installed
from cllora.spec import Cell, Study
from cllora.store import last_round, read_probes_of, read_rounds

log = logging.getLogger("cllora")

Figures = Mapping[str, float]
Record = Mapping[str, Any]  # a line of rounds.jsonl
Write = Callable[[int, Figures], None]
"""Takes a round's number and its figures by name."""


@dataclass(frozen=True)
class TrackedRun:
    """The run as a tracker is told of it.

    `id` is the same whenever this run goes on, and no other's; `settings` are the experiment's fields by path;
    `folder` is the study's, where a tracker that writes files may have a folder of its own.
    """

    study: str
    cell: str
    id: str
    settings: Mapping[str, object]
    folder: Path


@dataclass(frozen=True)
class TrackerFacts:
    """The facts of a tracker: the `package` that it needs, which is an extra of cllora by the same name."""

    package: str | None = None


trackers: Registry[Callable[[TrackedRun], AbstractContextManager[Write]], TrackerFacts] = Registry(
    "tracker", TrackerFacts
)


@trackers.register("tensorboard", package="tensorboard")
@contextmanager
def _tensorboard(run: TrackedRun) -> Iterator[Write]:
    """Event files in the study's folder; look with `tensorboard --logdir DIR/tensorboard`."""
    from torch.utils.tensorboard import SummaryWriter

    place = run.folder / "tensorboard" / run.cell
    shutil.rmtree(place, ignore_errors=True)  # All rounds are told again, or they would be there twice.
    with SummaryWriter(str(place)) as writer:

        def write(number: int, figures: Figures) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, number)
            writer.flush()

        yield write


@trackers.register("wandb", package="wandb")
@contextmanager
def _wandb(run: TrackedRun) -> Iterator[Write]:
    """Weights & Biases: a project per study, set up by its own login or `WANDB_MODE=offline`."""
    import wandb

    project = "".join(c if c.isalnum() or c in "-_." else "-" for c in run.study)
    tracked = wandb.init(
        project=project, name=run.cell, id=run.id, resume="allow", config=dict(run.settings), dir=str(run.folder)
    )
    try:
        # Rounds that are there already have a smaller step than the last, and are passed over.
        yield lambda number, figures: tracked.log(dict(figures), step=number)
    finally:
        tracked.finish()


@trackers.register("mlflow", package="mlflow")
@contextmanager
def _mlflow(run: TrackedRun) -> Iterator[Write]:
    """MLflow: an experiment per study, where its own `MLFLOW_TRACKING_URI` says."""
    import mlflow

    experiment = mlflow.set_experiment(run.study)
    before = mlflow.search_runs(
        [experiment.experiment_id], f"tags.cllora = '{run.id}'", max_results=1, output_format="list"
    )
    if before:
        started = mlflow.start_run(run_id=before[0].info.run_id)
    else:
        started = mlflow.start_run(run_name=run.cell, tags={"cllora": run.id})
    with started:
        if not before:
            mlflow.log_params(dict(run.settings))
        yield lambda number, figures: mlflow.log_metrics(dict(figures), step=number)


@trackers.register("trackio", package="trackio")
@contextmanager
def _trackio(run: TrackedRun) -> Iterator[Write]:
    """Trackio: a project per study, on this machine; look with `trackio show`."""
    import trackio

    name = f"{run.cell} {run.id}"
    trackio.init(project=run.study, name=name, resume="allow", config=dict(run.settings))
    try:
        yield lambda number, figures: trackio.log(dict(figures), step=number)
    finally:
        trackio.finish()


def check_trackers(names: Iterable[str]) -> None:
    """Hold the names in `report_to` against the registry and the packages that are installed.

    Raises:
        UsageError: there is no such tracker, or its package is missing.
    """
    for name in names:
        package = trackers.facts(name).package
        if package is not None and not installed(package):
            raise UsageError(f"report_to: {how_to_install(name, package)}")


@dataclass(frozen=True)
class _Opened:
    """The trackers of one cell: what tells each, and what closes them all."""

    writes: Mapping[str, Write]
    closing: ExitStack


class Tracking:
    """The trackers of a study, which follow its progress. One that fails is left out from then on, with one warning.

    A context: whatever is open at its end is closed.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study.name
        self._folder = folder
        self._working = list(dict.fromkeys(study.report_to))
        self._cells: dict[str, _Opened] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._cells:
            self._cells.popitem()[1].closing.close()

    def follow(self, progress: Progress) -> None:
        """Tell all trackers of a round that is on disk; with a cell's last also of all metrics, then they are closed.

        At the first that is computed here they are told of all rounds that there are: some may have missed them.
        """
        cell, place = progress.cell, self._folder / progress.cell.name
        if progress.record is not None and self._working:
            begins = cell.name not in self._cells
            if begins:
                self._cells[cell.name] = self._open(cell)
            for record in _rounds_of(place) if begins else [progress.record]:
                self._tell(self._cells[cell.name].writes, place, record, record["round"] == progress.rounds)
        if progress.over and cell.name in self._cells:
            self._cells.pop(cell.name).closing.close()

    def _open(self, cell: Cell) -> _Opened:
        writes: dict[str, Write] = {}
        closing = ExitStack()
        for name in list(self._working):
            with self._left_out_if_it_fails(name):
                manager = trackers.get(name)(self._tracked(cell))
                writes[name] = manager.__enter__()
                closing.callback(self._close, name, manager)
        return _Opened(writes, closing)

    def _close(self, name: str, manager: AbstractContextManager[Write]) -> None:
        with self._left_out_if_it_fails(name):
            manager.__exit__(None, None, None)

    def _tell(self, writes: Mapping[str, Write], place: Path, record: Record, last: bool) -> None:
        number = int(record["round"])
        at_end = metrics_of(place) if last and writes else {}
        for name, write in writes.items():
            if name in self._working:
                with self._left_out_if_it_fails(name):
                    write(number, {**figures_of(record), **probe_figures(place, number), **at_end})

    def _tracked(self, cell: Cell) -> TrackedRun:
        identity = f"{self._folder.resolve()} {cell.experiment.id}"
        return TrackedRun(
            study=self._study,
            cell=cell.name,
            id=hashlib.sha256(identity.encode()).hexdigest()[:12],
            settings=_flat(cell.experiment.model_dump(mode="json")),
            folder=self._folder,
        )

    @contextmanager
    def _left_out_if_it_fails(self, name: str) -> Iterator[None]:
        try:
            with redirect_stdout(sys.stderr):  # Results alone go to stdout.
                yield
        except Exception as error:  # noqa: BLE001 (whatever a tracker does, the run goes on)
            if name in self._working:
                self._working.remove(name)
                problem = f"{type(error).__name__}: {one_line(error, 200)}"
                log.warning("report_to: %s failed and is left out from here on; the runs go on (%s)", name, problem)


def _rounds_of(place: Path) -> list[Record]:
    """The records of the rounds that are whole on disk."""
    last = last_round(place)
    return [] if last is None else [record for record in read_rounds(place) if record["round"] <= last.number]


def figures_of(record: Record) -> dict[str, float]:
    """A round's figures for a tracker: the numbers of its record, and the chosen clients' losses averaged."""
    figures = {key: float(value) for key, value in _flat(record).items() if key != "round" and _is_number(value)}
    for loss in ("train_loss", "local_loss"):
        losses = [float(client[loss]) for client in record.get("clients", ()) if _is_number(client.get(loss))]
        if losses:
            figures[loss] = sum(losses) / len(losses)
    return figures


def probe_figures(place: Path, number: int) -> dict[str, float]:
    """The numbers that a round's tables of probes come to, as `probe.number`, such as `loss_surface.barrier`."""
    tables = {name: table for name, table in read_probes_of(place, number).items() if name in probes.names()}
    return {
        f"{name}.{key}": value
        for name, table in tables.items()
        for key, value in probes.facts(name).summary(table).items()
        if math.isfinite(value)
    }


def metrics_of(place: Path) -> dict[str, float]:
    """The metrics of a run as `metrics.NAME`, as far as they were measured. One that fails costs a warning."""
    from cllora.analysis import read_record  # with all statistics, which a run needs for its trackers alone

    record, figures = read_record(place), {}
    for metric in metrics.every():
        if metric.against_control:
            continue
        try:
            figures[f"metrics.{metric.name}"] = float(metric.value(record))
        except UsageError as error:
            log.warning("report_to: %s; trackers are not told of it", error)
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(fields: Mapping[str, object], above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat
