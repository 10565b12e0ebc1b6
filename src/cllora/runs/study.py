"""A whole study: checked before anything is loaded, then cell by cell into one folder."""

import functools
import inspect
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import cllora
from cllora.corpus import corpora, corruptions, features
from cllora.errors import FieldError, UsageError
from cllora.federated import strategies
from cllora.model.patterns import patterns
from cllora.partition import check_residual, partitioners
from cllora.places import expanded
from cllora.presets import find_study
from cllora.probes import probes
from cllora.registry import AnyRegistry, code_files, guess, load_plugins
from cllora.runs.deciding import batches, check_primary
from cllora.runs.engines import Engine, Progress, Setting, engines, together_of
from cllora.runs.extras import how_to_install, installed
from cllora.runs.failures import CellsFailed
from cllora.runs.pins import Pins
from cllora.runs.study_cache import ACTIVATIONS, StudyCache, shared_parts
from cllora.runs.study_folder import study_folder
from cllora.runs.tracking import Tracking, check_trackers, trackers
from cllora.runs.work import CellWork
from cllora.spec import Cell, Choice, Experiment, Study
from cllora.spec.fields import alike, field_of, set_field
from cllora.store import is_finished
from cllora.types import OnRead

PACKAGE = Path(cllora.__file__).parent


def run(
    study: Study | str,
    out: Path | str | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_corpus: OnRead | None = None,
) -> Path:
    """Run a study (a `Study`, a preset's name or a YAML file) to its end and return its folder.

    Whatever of it the folder holds already is kept: finished cells are passed over, the one that was interrupted
    goes on after its last whole round, and the numbers are those of a run that never stopped. A cell that cannot be
    finished, for whatever reason, is recorded (`failed.json` in its folder) and the others go on; running again tries
    it again.

    Raises:
        UsageError: the study is not usable, or the folder holds another study.
        CellsFailed: some cells could not be finished; all others are.
    """
    study = find_study(study) if isinstance(study, str) else study
    check(study)
    check_trackers(study.report_to)
    folder = Path(out) if out is not None else Path("runs") / study.name
    with study_folder(folder, study):
        _run_cells(study, folder, on_progress or (lambda _: None), on_corpus)
    return folder


def check(study: Study) -> None:
    """Hold every name and option in the study against the registries.

    Raises:
        UsageError: the first that is unknown or not admitted.
    """
    load_plugins(study.base.load)
    try:
        _check_engine(study.engine)
        check_primary(study)
        for name in study.report_to:
            if name not in trackers.names():
                raise FieldError(f"unknown tracker '{name}'; {guess(name, trackers.names())}", "report_to")
        _check_cells(study)
    except FieldError as error:
        raise study.places.located(error) from None


def _check_engine(choice: Choice) -> None:
    """Hold the engine's name, its options and the package that it needs against what there is."""
    _bound("engine", engines, choice)
    facts = engines.facts(choice.name)
    if facts.package is not None and facts.extra is not None and not installed(facts.package):
        raise FieldError(f"engine: {how_to_install(facts.package, facts.extra)}", "engine")


def _check_cells(study: Study) -> None:
    """Bind what every cell names. Two cells that differ in nothing but an option's default written out are the same."""
    same: dict[object, str] = {}
    for cell in study.cells():
        fields = cell.experiment.meaning()
        for path, registry, choice in _choices(cell.experiment):
            bound = _bound(path, registry, choice)
            written = field_of(fields, path)
            set_field(fields, path, {**(written if isinstance(written, dict) else {"name": written}), **bound})
        for probe in fields["evaluation"]["probes"]:
            probe.update(_bound("evaluation.probes", probes, Choice(**probe)))
        check_residual(cell.experiment.partition)
        data = cell.experiment.data
        if data.corpus is not None and data.split != "train":
            message = f"data.split: a corpus has no splits, so none named '{data.split}'; leave it out"
            raise FieldError(message, "data.split")
        other = same.setdefault(alike(fields), cell.name)
        if other != cell.name:
            message = f"grid: the cells '{other}' and '{cell.name}' are the same experiment; give it once"
            raise FieldError(message, "grid")


def _choices(experiment: Experiment) -> Iterator[tuple[str, AnyRegistry, Choice]]:
    """Every registered name of an experiment with its options, by the path of the section or field that holds it."""
    partition, data = experiment.partition, experiment.data
    yield "partition", partitioners, Choice(name=partition.scheme, **partition.options)
    yield "partition.by", features, partition.by
    if partition.and_by is not None:
        yield "partition.and_by", features, partition.and_by
    yield "model.attention", patterns, experiment.model.attention
    yield "evaluation.pattern", patterns, experiment.evaluation.pattern
    yield "federation.strategy", strategies, experiment.federation.strategy
    if data.corpus is not None:
        yield "data.corpus", corpora, data.corpus
    if data.corrupt is not None:
        yield "data.corrupt", corruptions, Choice(name=data.corrupt.kind, **data.corrupt.options)


def _bound(path: str, registry: AnyRegistry, choice: Choice) -> dict[str, object]:
    """All of a choice's options as they are understood."""
    try:
        return dict(registry.bind(choice.name, choice.options).keywords)
    except FieldError as error:
        raise error.within(path) from None
    except UsageError as error:
        named = {"partition": "partition.scheme", "data.corrupt": "data.corrupt.kind"}
        raise FieldError(str(error), named.get(path, path)) from None


def _run_cells(study: Study, folder: Path, on_progress: Callable[[Progress], None], on_corpus: OnRead | None) -> None:
    pins = Pins(folder / "pins.json")
    pins.hold_files(study.base.load)
    cache = functools.cache(partial(StudyCache, folder, on_corpus, round(study.activations_gb * 1e9)))
    with Tracking(study, folder) as tracking:
        for cells in _beginnings(study, batches(study, folder)):
            failed: dict[str, str] = {}
            with closing(_computed(study, folder, cells, pins, cache)) as computed:
                for progress in computed:
                    if progress.failed is not None:
                        failed[progress.cell.name] = progress.failed
                    tracking.follow(progress)
                    on_progress(progress)
            if failed:
                raise CellsFailed(folder, failed, len(cells))
    shutil.rmtree(folder / ACTIVATIONS, ignore_errors=True)  # of use to cells that are left to do alone


def _beginnings(study: Study, batches: Iterable[Sequence[Cell]]) -> Iterator[list[Progress]]:
    """Yield each batch's cells at their beginnings, those that share their texts and their base side by side."""
    place = {cell.name: index for index, cell in enumerate(order_by_shared_inputs(study.cells()))}
    many = total = 0
    for batch in batches:
        many += len(batch)
        total += sum(cell.experiment.federation.num_rounds + 1 for cell in batch)
        yield [
            Progress(cell, many, place[cell.name], 0, cell.experiment.federation.num_rounds, resumed=False, total=total)
            for cell in sorted(batch, key=lambda cell: place[cell.name])
        ]


def _computed(
    study: Study, folder: Path, cells: Sequence[Progress], pins: Pins, cache_for: Callable[[int], StudyCache]
) -> Generator[Progress]:
    """Yield the progress of cells from their beginnings: of those that are finished, then of those that the engine
    computes."""
    left = []
    for begin in cells:
        if _is_done(folder, begin.cell):
            yield replace(begin, round=begin.rounds, resumed=True)
        else:
            left.append(begin)
    if left:
        engine = _engine_of(study, folder, [begin.cell for begin in left], pins)
        work = CellWork(folder, study.base.load, engine.threads, cache_for(together_of(engine)))
        yield from engine(work, left)


def _is_done(folder: Path, cell: Cell) -> bool:
    """Whether nothing is left to do for a cell. One that is damaged is to be computed, and fails there, on record."""
    try:
        return is_finished(folder / cell.name, cell.experiment)
    except UsageError:
        return False


def _engine_of(study: Study, folder: Path, left: Sequence[Cell], pins: Pins) -> Engine:
    """The study's engine for the cells that are left to do, as the study began: with as many threads, and cells
    together."""
    setting = Setting(folder, left, pins.threads(), _only_here(study.base.load, left), pins.together())
    engine: Engine = engines.bind(study.engine.name, study.engine.options)(setting)
    pins.hold_threads(engine.threads)
    pins.hold_together(together_of(engine))
    return engine


def _only_here(load: Sequence[str], cells: Sequence[Cell]) -> str | None:
    """The first thing cells name that is neither cllora's nor in the study's own files (`load`): of this process."""
    own = {path for file in load for path in code_files(expanded(file))}
    members: dict[tuple[str, str], AnyRegistry] = {}
    for cell in cells:
        members |= {(choice.name, registry.kind): registry for _, registry, choice in _choices(cell.experiment)}
        members |= {(probe.name, probes.kind): probes for probe in cell.experiment.evaluation.probes}
    for (name, kind), registry in members.items():
        code = getattr(inspect.unwrap(registry.get(name)), "__code__", None)
        file = Path("" if code is None else code.co_filename).resolve()
        if PACKAGE not in file.parents and file not in own:
            return f"{kind} '{name}'"
    return None


def order_by_shared_inputs(cells: Sequence[Cell]) -> list[Cell]:
    """The cells in an order in which those that share their texts and their base follow each other."""
    seen: dict[tuple[str, str], int] = {}
    for cell in cells:
        seen.setdefault(shared_parts(cell.experiment), len(seen))
    return sorted(cells, key=lambda cell: seen[shared_parts(cell.experiment)])
