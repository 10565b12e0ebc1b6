"""Parts of one cell's work over workers, for models that fill a device alone."""

import logging
import pickle
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cllora.errors import UsageError, counted, one_line
from cllora.runs.engines.engine import Progress, Setting, Work
from cllora.runs.engines.following import DEATHS, Handle, Open, Workers
from cllora.runs.notices import Notices, kept_for_the_driver

log = logging.getLogger("cllora")

_T = TypeVar("_T")

POLL_SECONDS = 0.01

Part = Callable[[Any], _T]  # Any: a `CellWork`, whose room knows of this one
"""A part of a cell's work: it is given the work, in a worker."""


@dataclass(frozen=True)
class OverClients:
    """An engine that computes one cell after the other in this process, and has workers train its clients."""

    threads: int
    open: Open
    advice: str

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        with closing(Notices(work.folder)) as notices, self.open() as workers:
            work.prepare(cells)
            work.spread(Pool(work, workers, notices, self.advice))
            for cell in cells:
                yield from work(cell)


def check_alone(setting: Setting, together: int) -> None:
    """Make sure that one cell is computed at a time, as is needed for its clients to have all workers.

    Raises:
        UsageError: several cells are to be computed together.
    """
    if (setting.together or together) > 1:
        raise UsageError(
            "engine: cells together are for adapters that leave a device idle, clients over workers for models that "
            "fill one; leave clients out, or in a new --out together"
        )


class Pool:
    """Workers that compute parts of a cell's work, each with a base of its own."""

    def __init__(self, work: Work, workers: Workers, notices: Notices, advice: str) -> None:
        self._work, self._workers, self._notices, self._advice = work, workers, notices, advice
        self._left: list[Handle] = []

    @property
    def at_once(self) -> int | None:
        """The number of parts that are computed at a time; None where that is the workers' to say."""
        return self._workers.at_once

    def results(self, parts: Sequence[Part[_T]]) -> list[_T]:
        """Return the results of all parts, in their order. A part is given the work, in a worker.

        Raises:
            Exception: what a part raises; or a `UsageError`, where workers die at a part again and again.
        """
        waiting, deaths = deque(range(len(parts))), Counter[int]()
        running: dict[Handle, int] = {}
        results: dict[int, _T] = {}
        try:
            while len(results) < len(parts):
                while waiting and self._has_room(len(running)):
                    place = waiting.popleft()
                    running[self._workers.submit(attempted, self._work, parts[place])] = place
                for handle in self._done(running):
                    place = running.pop(handle)
                    outcome = self._outcome(handle, deaths, place)
                    if outcome is None:
                        waiting.appendleft(place)
                    else:
                        results[place] = outcome.result()
        finally:
            self._left += running
        return [results[place] for place in range(len(parts))]

    def _has_room(self, running: int) -> bool:
        """Whether a worker is free beside so many; some may still be at parts that nobody waits for any more."""
        self._left = [handle for handle in self._left if not handle.done()]
        return self.at_once is None or running + len(self._left) < self.at_once

    def _done(self, running: Collection[Handle]) -> list[Handle]:
        """The parts that have ended; after a moment, in which workers' notices are told, where none has."""
        done = [handle for handle in running if handle.done()]
        if not done:
            self._notices.read()
            time.sleep(POLL_SECONDS)
        return done

    def _outcome(self, handle: Handle, deaths: Counter[int], place: int) -> "Outcome[Any] | None":  # Any: of any part
        """The outcome of a part; None where its worker died, and another shall try."""
        try:
            outcome: Outcome[Any] = handle.result()  # Any: of any part
        except UsageError:  # There was no part yet: the worker could not load the study's files, say.
            raise
        except Exception as error:  # noqa: BLE001 (libraries differ in how they say that a worker died)
            deaths[place] += 1
            why = f"{type(error).__name__}: {one_line(error, 120)}"
            if deaths[place] < DEATHS:
                log.warning("a worker died (%s); another does what it was at", why)
                return None
            times = counted(deaths[place], "time")
            raise UsageError(
                f"a worker that trains or evaluates died {times}, killed or out of memory ({why}); {self._advice}"
            ) from None
        return outcome


@dataclass(frozen=True)
class Outcome(Generic[_T]):
    """The result of a part, or the error that it ended in."""

    value: _T | None = None
    error: Exception | None = None

    def result(self) -> _T:
        """The result.

        Raises:
            Exception: the error.
        """
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value


def attempted(work: Work, part: Part[_T]) -> Outcome[_T]:
    """Compute a part in a worker."""
    with kept_for_the_driver(work.folder), redirect_stdout(sys.stderr):
        try:
            return Outcome(part(work))
        except Exception as error:  # noqa: BLE001 (it is raised where the part is waited for)
            return Outcome(error=_sent(error))


def _sent(error: Exception) -> Exception:
    """An error as it can be sent to another process, its traceback as a note, which does not travel by itself."""
    if isinstance(error, UsageError):
        return UsageError(str(error))
    note = "".join(traceback.format_exception(error))
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (an error may do anything when it is pickled)
        sent = RuntimeError(f"{type(error).__name__}: {one_line(error)}")
    sent.add_note(note)
    return sent
