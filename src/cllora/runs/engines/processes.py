"""Cells over processes of this machine, by loky: joblib's pool, whose workers start without the user's main program."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import loky
import psutil
from pydantic import PositiveInt

from cllora.runs.engines.cores import cores
from cllora.runs.engines.engine import Engine, Setting, elsewhere, engines
from cllora.runs.engines.following import Followed, Handle
from cllora.runs.engines.pool import OverClients, check_alone

ADVICE = "give the study fewer workers (engine.workers), or its cells less to keep in memory (local.batch_size)"
NEVER_RECYCLED = "1e15"
"""A worker keeps the base between cells, which is no leak of memory."""


@engines.register()
def processes(
    setting: Setting,
    *,
    workers: PositiveInt | None = None,
    threads: PositiveInt | None = None,
    together: PositiveInt = 1,
    clients: bool = False,
) -> Engine:
    """Several cells at a time, each in a process of its own on this machine; or in each process `together` cells, in
    the same passes over their base. With `clients` it is one cell at a time, whose clients the processes train."""
    elsewhere(setting)
    if clients:
        check_alone(setting, together)
        per_part = setting.threads or threads or 1
        at_once = workers or max(1, cores() // per_part)
        return OverClients(per_part, partial(_started, at_once, per_part), ADVICE)
    together = setting.together or together
    at_once = workers or max(1, min(-(-len(setting.cells) // together), cores() // (setting.threads or threads or 1)))
    per_cell = setting.threads or threads or max(1, cores() // at_once)
    return Followed(per_cell, partial(_started, at_once, per_cell), ADVICE, together)


class Processes:
    """A pool of one process for whatever is computed at once, so that one's death is no other's."""

    def __init__(self, at_once: int, threads: int) -> None:
        self.at_once = at_once
        self._threads = threads
        self._pools = [self._pool() for _ in range(at_once)]
        self._busy: dict[int, Handle] = {}
        for pool in self._pools:
            pool.submit(_imports)

    def submit(self, function: Callable[..., object], *arguments: object) -> Handle:
        """Hand a group of cells, or a part of one, to a process that is free; one that died is started again."""
        free = next(slot for slot in range(self.at_once) if slot not in self._busy or self._busy[slot].done())
        try:
            handle: Handle = self._pools[free].submit(function, *arguments)
        except RuntimeError:  # Its process died: the pool is broken, or shut down.
            self._pools[free] = self._pool()
            handle = self._pools[free].submit(function, *arguments)
        self._busy[free] = handle
        return handle

    def stop(self) -> None:
        """End every process at once, whatever it is at: what it had not put on disk is computed again."""
        for pool in self._pools:
            pool.shutdown(wait=True, kill_workers=True)

    def _pool(self) -> loky.ProcessPoolExecutor:
        env = {"OMP_NUM_THREADS": str(self._threads), "LOKY_MAX_MEMORY_LEAK_SIZE": NEVER_RECYCLED}
        return loky.ProcessPoolExecutor(1, initializer=_begun, initargs=(os.getpid(),), env=env)


@contextlib.contextmanager
def _started(at_once: int, threads: int) -> Iterator[Processes]:
    workers = Processes(at_once, threads)
    try:
        yield workers
    finally:
        workers.stop()


def _begun(driver: int) -> None:
    """Make a worker one that ends with its driver, and by its driver's word alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: int) -> None:
    """End this process once its driver is gone, killed as it may be; the cell is as whole as at any other end.

    On Windows a process keeps the number of a parent that is gone.
    """
    while os.getppid() == driver and psutil.pid_exists(driver):
        time.sleep(1)
    os._exit(1)


def _imports() -> None:
    """Import what cells need, while the driver is still reading texts."""
    from cllora.runs.work import import_run_cell

    import_run_cell()
