"""Cells over a Ray cluster: one that runs already, or one of this machine for as long as the study takes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from cllora.runs.engines.cores import cores
from cllora.runs.engines.engine import Engine, Progress, Setting, elsewhere, engines
from cllora.runs.engines.following import Followed, Handle

ADVICE = "give a cell more of a machine (engine.threads, engine.gpus), or less to keep in memory (local.batch_size)"
Gpus = Annotated[float, Field(ge=0)]


@engines.register(package="ray", extra="ray")
def ray(
    setting: Setting,
    *,
    workers: PositiveInt | None = None,
    threads: PositiveInt = 1,
    gpus: Gpus = 0,
    address: str | None = None,
    together: PositiveInt = 1,
) -> Engine:
    """Cells as tasks of Ray, each with `threads` cores and `gpus` GPUs (a share of one, such as 0.25, is admitted); on
    the cluster at `address`, or else on this machine, `workers` at a time. Each task computes `together` cells in the
    same passes over their base."""
    elsewhere(setting)
    per_task = setting.threads or threads
    started = partial(_started, address, workers, per_task, gpus)
    return Followed(per_task, started, ADVICE, setting.together or together, widely=address is not None)


class _Tasks:
    """Cells as Ray's tasks; which worker takes them, and when, is Ray's to say."""

    def __init__(self, remote: Any, at_once: int | None) -> None:  # Any: Ray has no types for remote functions
        self.at_once = at_once
        self._remote = remote

    def submit(self, function: Callable[..., Sequence[Progress]], *arguments: object) -> Handle:
        handle: Handle = self._remote.remote(function, *arguments).future()
        return handle


@contextmanager
def _started(address: str | None, workers: int | None, threads: int, gpus: float) -> Iterator[_Tasks]:
    import ray

    local = {} if address else {"num_cpus": max(cores(), (workers or 1) * threads), "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
    try:
        task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_run)
        yield _Tasks(task, workers)
    finally:
        ray.shutdown()  # ends the tasks of this driver too


def _run(function: Callable[..., Sequence[Progress]], *arguments: object) -> Sequence[Progress]:
    return function(*arguments)
