"""Cells handed out to workers, and followed by their folders, wherever the workers are.

What a worker did is read from the disk, as whoever resumes a study reads it: so a worker's death, and the driver's own,
lose nothing but the round that was being computed. Nothing but a cell's end comes back any other way.
"""

import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cllora.errors import UsageError, counted, one_line
from cllora.runs.engines.engine import Progress, Work, groups_of
from cllora.runs.failures import record_failure, stops_the_study
from cllora.runs.notices import Notices, kept_for_the_driver
from cllora.store import committed_round, is_finished, read_rounds

log = logging.getLogger("cllora")

POLL_SECONDS = 0.1
DEATHS = 3
"""Deaths of workers at a cell after which it counts as failed."""
LATE_SECONDS = 60
"""The longest time that files may take from another machine to this one."""


class Handle(Protocol):
    """The computing of one group of cells, or of a part of a cell: a future, or what a library has in its place."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...  # Any: what was computed; libraries differ


class Workers(Protocol):
    """Processes that compute cells, or parts of one."""

    @property
    def at_once(self) -> int | None:
        """The number of groups, or parts, that they are handed at a time; None where they have a queue of their own."""
        ...

    def submit(self, function: Callable[..., object], *arguments: object) -> Handle: ...


Open = Callable[[], AbstractContextManager[Workers, bool | None]]
"""Starts workers; at the end of the context all of them end at once, whatever they are at."""


@dataclass(frozen=True)
class Followed:
    """An engine that hands cells out to workers, `together` in one group, and follows them.

    `widely` says whether the workers may be on other machines, whose files take their time.
    """

    threads: int
    open: Open
    advice: str
    together: int = 1
    widely: bool = False

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        with closing(Notices(work.folder)) as notices, self.open() as workers:
            work.prepare(cells)
            yield from _Following(self, work, workers, notices).all(cells)


def computed(work: Work, *begins: Progress) -> Sequence[Progress]:
    """Compute all rounds of a group of cells, in a worker; returns the progress of each one's last."""
    last = {begin.index: begin for begin in begins}
    with kept_for_the_driver(work.folder), redirect_stdout(sys.stderr):
        for progress in work.together(begins):
            last[progress.index] = progress
    return [replace(progress, record=None) for progress in last.values()]


@dataclass
class _Watched:
    """A cell that a worker is at, and the last of its rounds that was reported."""

    begin: Progress
    place: Path
    reported: int = -1
    seen: tuple[int, int] | None = None

    def news(self) -> Iterator[Progress]:
        """Yield the rounds that have come onto the disk since; none of a damaged folder, of which its worker tells."""
        state = self.place / "state.safetensors"
        status = state.stat() if state.exists() else None
        changed = None if status is None else (status.st_mtime_ns, status.st_ino)
        if changed == self.seen:
            return
        self.seen = changed
        try:
            number, records = committed_round(self.place), read_rounds(self.place)
        except UsageError:
            return
        for record in records:
            if self.reported < record["round"] <= number:
                yield replace(self.begin, round=record["round"], record=record)
        self.reported = max(self.reported, number)


class _Following:
    """The cells of a study while workers are at them."""

    def __init__(self, engine: Followed, work: Work, workers: Workers, notices: Notices) -> None:
        self._engine = engine
        self._work = work
        self._workers = workers
        self._notices = notices
        self._deaths: Counter[str] = Counter()
        self._running: dict[Handle, list[_Watched]] = {}

    def all(self, cells: Sequence[Progress]) -> Iterator[Progress]:
        """Hand out all cells, and yield what becomes of them."""
        waiting = deque(groups_of(cells, self._engine.together))
        while waiting or self._running:
            while waiting and self._has_room():
                self._hand_out(waiting.popleft())
            for handle, group in list(self._running.items()):
                done = handle.done()  # Asked first: what it wrote before it ended is there to be read then.
                for watched in group:
                    yield from watched.news()
                if done:
                    del self._running[handle]
                    yield from self._ended(handle, group, waiting)
            self._notices.read()
            time.sleep(POLL_SECONDS)

    def _has_room(self) -> bool:
        return self._workers.at_once is None or len(self._running) < self._workers.at_once

    def _hand_out(self, begins: Sequence[Progress]) -> None:
        group = [_Watched(begin, self._work.folder / begin.cell.name) for begin in begins]
        for watched in group:
            list(watched.news())  # Its rounds of before are none.
        self._running[self._workers.submit(computed, self._work, *begins)] = group

    def _ended(self, handle: Handle, group: Sequence[_Watched], waiting: deque[list[Progress]]) -> Iterator[Progress]:
        """Yield what a group that is over comes to; one whose worker died waits again."""
        try:
            last: Sequence[Progress] = handle.result()
        except UsageError:
            raise
        except Exception as error:
            if stops_the_study(error):
                raise
            yield from self._died([watched.begin for watched in group], error, waiting)
            return
        for watched, progress in zip(group, last, strict=True):
            if progress.failed is not None:
                yield replace(watched.begin, failed=progress.failed)
            else:
                yield from self._rest(watched)

    def _rest(self, watched: _Watched) -> Iterator[Progress]:
        """Yield the rounds of a finished cell that have not been reported; from another machine they may come late."""
        until = time.monotonic() + LATE_SECONDS * self._engine.widely
        yield from watched.news()
        while not is_finished(watched.place, watched.begin.cell.experiment):
            if time.monotonic() > until:
                raise UsageError(
                    f"a worker finished {watched.begin.cell.name}, but {watched.place} does not show it: workers and "
                    "this command must see the same folder; choose an --out that all machines share"
                )
            time.sleep(POLL_SECONDS)
            yield from watched.news()
        if watched.reported < 0:
            yield replace(watched.begin, round=watched.begin.rounds, resumed=True)

    def _died(self, begins: list[Progress], error: Exception, waiting: deque[list[Progress]]) -> Iterator[Progress]:
        """Hand out again a group whose worker was killed or failed. After a few times each of its cells is computed by
        itself, and one that was by itself counts as failed."""
        names = ", ".join(begin.cell.name for begin in begins)
        self._deaths[names] += 1
        times = self._deaths[names]
        why = f"{type(error).__name__}: {one_line(error, 120)}"
        if times < DEATHS:
            subject = "the cell goes" if len(begins) == 1 else "each cell goes"
            log.warning("the worker at %s died (%s); %s on after its last whole round", names, why, subject)
            waiting.appendleft(begins)
        elif len(begins) > 1:
            log.warning("the worker at %s died %s (%s); each goes on by itself", names, counted(times, "time"), why)
            waiting.extendleft([begin] for begin in reversed(begins))
        else:
            died = UsageError(
                f"its worker died {counted(times, 'time')}, killed or out of memory ({why}); {self._engine.advice}"
            )
            yield replace(begins[0], failed=record_failure(self._work.folder / names, died))
