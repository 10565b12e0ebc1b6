"""Computing one cell of a study, in whatever process."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cllora.errors import UsageError
from cllora.registry import load_plugins
from cllora.runs.engines import Progress
from cllora.runs.failures import forget_failure, record_failure, stops_the_study
from cllora.runs.pins import Pins
from cllora.runs.study_cache import StudyCache
from cllora.spec import Experiment
from cllora.store import committed_round, is_finished, lock_of

if TYPE_CHECKING:
    from cllora.model.learner import Learner
    from cllora.runs.engines.pool import Pool
    from cllora.runs.together import Member


class CellWork:
    """Computes cells of one study; what they share is made once in a process (see `Work` for what it is to an engine).

    Sent to another process it is the study's folder, the user's own files and the numbers; what it has in memory stays
    where it is.
    """

    def __init__(self, folder: Path, files: tuple[str, ...], threads: int, cache: StudyCache) -> None:
        self.folder = folder
        self._files = files
        self._threads = threads
        self._cache = cache

    def __reduce__(self) -> tuple[object, ...]:
        cache = self._cache
        return _work_here, (
            os.getcwd(),
            self.folder,
            self._files,
            self._threads,
            cache.most_activations,
            cache.together,
        )

    def prepare(self, cells: Sequence[Progress]) -> None:
        """Read the cells' texts into the cache. What cannot be read is recorded by the cells that ask for it."""
        for cell in cells:
            with suppress(UsageError):
                self._cache.samples(cell.cell.experiment)

    def __call__(self, begin: Progress) -> Iterator[Progress]:
        """Run a cell to its end or to where it fails, which is put on record; what would stop every cell is raised."""
        yield from self._computed(begin, None)

    def together(self, begins: Sequence[Progress]) -> Iterator[Progress]:
        """Run cells that share their texts and their base, a round of each before the next of any."""
        if len(begins) == 1:
            yield from self(begins[0])
            return
        import_run_cell()
        from cllora.runs.together import Member, Together

        with threads(self._threads):
            self._load(begins[0].cell.experiment)
            members = [Member(self._last_round(begin), partial(self._computed, begin)) for begin in begins]
            yield from Together(members).rounds()

    def spread(self, pool: "Pool") -> None:
        """Have workers train the clients of cells, and evaluate, from now on."""
        self._cache.pool = pool

    @contextmanager
    def learner(self, experiment: Experiment) -> "Iterator[Learner]":
        """The learner of an experiment, in a worker that computes a part of a cell's work."""
        import_run_cell()
        with threads(self._threads):
            yield self._cache.learner(experiment, self._cache.samples(experiment))

    def _load(self, experiment: Experiment) -> None:
        """Make what cells share. What cannot be made is recorded by each of them."""
        with suppress(Exception):
            self._cache.engine(experiment, self._cache.samples(experiment))

    def _last_round(self, begin: Progress) -> int:
        """The cell's last whole round; -1 where there is none, or the folder is damaged, which the cell tells of."""
        with suppress(UsageError):
            return committed_round(self.folder / begin.cell.name)
        return -1

    def _computed(self, begin: Progress, member: "Member | None") -> Iterator[Progress]:
        """Run a cell by itself, or as a member of those that are computed together."""
        place = self.folder / begin.cell.name
        with lock_of(place):  # Held by whoever computes it: a driver's worker may outlive the driver for a moment.
            try:
                with threads(self._threads):
                    yield from self._rounds(place, begin, member)
            except Exception as error:
                if stops_the_study(error):
                    raise
                yield replace(begin, failed=record_failure(place, error))

    def _rounds(self, place: Path, begin: Progress, member: "Member | None") -> Iterator[Progress]:
        """Each round of a cell once it is on disk; of a cell that was finished before, the last."""
        experiment = begin.cell.experiment
        if is_finished(place, experiment):
            yield replace(begin, round=begin.rounds, resumed=True)
            return
        run_cell = import_run_cell()
        forget_failure(place)
        samples = self._cache.samples(experiment)
        engine = self._cache.engine(experiment, samples)
        shared = (engine,) if member is None else (member.engine(engine), member.wait_to_save)
        for after in run_cell(experiment, place, samples, *shared):
            yield replace(begin, round=after.number, record=after.record.to_json())


@lru_cache(maxsize=1)
def _work_here(
    place: str, folder: Path, files: tuple[str, ...], threads: int, most_activations: int, together: int
) -> CellWork:
    """The work of a study in a process that it was sent to, kept for the study's next cell.

    Paths in a study are relative to the `place` that its command runs in, wherever the process was started.
    """
    os.chdir(place)
    load_plugins(files)
    Pins(folder / "pins.json").hold_files(files)
    return CellWork(folder, files, threads, StudyCache(folder, None, most_activations, together))


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch compute with so many threads meanwhile."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def import_run_cell() -> Any:  # Any: its type names what is to be imported late
    """Import the function that runs cells, and with it torch and transformers: thousands of modules, among which
    collecting garbage costs a second and finds none."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        from cllora.runs.cell import run_cell
    finally:
        if collecting:
            gc.enable()
    return run_cell
