"""Cells over a Ray cluster: one that runs already, or one of this machine for as long as the study takes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from cllora.errors import UsageError
from cllora.runs.engines.cores import cores
from cllora.runs.engines.engine import Engine, Setting, elsewhere, engines
from cllora.runs.engines.following import Followed, Handle
from cllora.runs.engines.pool import OverClients, check_alone

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
    clients: bool = False,
) -> Engine:
    """Cells as tasks of Ray, each with `threads` cores and `gpus` GPUs (a share of one, such as 0.25, is admitted); on
    the cluster at `address`, or else on this machine, `workers` at a time. Each task computes `together` cells in the
    same passes over their base. With `clients` it is one cell at a time, whose clients are trained by actors of Ray."""
    elsewhere(setting)
    per_task = setting.threads or threads
    if clients:
        check_alone(setting, together)
        return OverClients(per_task, partial(_started_actors, address, workers, per_task, gpus), ADVICE)
    started = partial(_started, address, workers, per_task, gpus)
    return Followed(per_task, started, ADVICE, setting.together or together, widely=address is not None)


class _Tasks:
    """Cells as Ray's tasks; which worker takes them, and when, is Ray's to say."""

    def __init__(self, remote: Any, at_once: int | None) -> None:  # Any: Ray has no types for remote functions
        self.at_once = at_once
        self._remote = remote

    def submit(self, function: Callable[..., object], *arguments: object) -> Handle:
        handle: Handle = self._remote.remote(function, *arguments).future()
        return handle


class _Actors:
    """Actors of Ray, which keep their base and their GPU. One that Ray has no room for, or that it starts again after a
    death, is handed nothing until it has answered."""

    def __init__(self, actors: Sequence[Any]) -> None:  # Any: Ray has no types for actors
        self._actors = actors
        self._starting = {slot: self._greeted(slot) for slot in range(len(actors))}
        self._busy: dict[int, Future[object]] = {}

    @property
    def at_once(self) -> int:
        for slot in [slot for slot, handle in self._busy.items() if handle.done()]:
            if self._busy.pop(slot).exception() is not None:
                self._starting[slot] = self._greeted(slot)
        self._starting = {slot: answer for slot, answer in self._starting.items() if not answer.done()}
        return len(self._actors) - len(self._starting)

    def submit(self, function: Callable[..., object], *arguments: object) -> Handle:
        free = next(slot for slot in range(len(self._actors)) if slot not in {*self._starting, *self._busy})
        self._busy[free] = self._actors[free].run.remote(function, *arguments).future()
        return self._busy[free]

    def _greeted(self, slot: int) -> "Future[object]":
        """The answer of an actor, which comes once it runs."""
        answer: Future[object] = self._actors[slot].run.options(max_task_retries=-1).remote(int).future()
        return answer


class _Worker:
    """The process of an actor."""

    def run(self, function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)


@contextmanager
def _cluster(
    address: str | None, workers: int | None, threads: int, gpus: float
) -> Iterator[Any]:  # Any: the module, without types
    import ray

    local = {} if address else {"num_cpus": max(cores(), (workers or 1) * threads), "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
    try:
        all_gpus = ray.cluster_resources().get("GPU", 0)
        if address is None and all_gpus < gpus:  # A cluster may grow.
            raise UsageError(f"engine.gpus: Ray finds {all_gpus:g} GPUs on this machine; lower it, or give an address")
        yield ray
    finally:
        ray.shutdown()  # ends the tasks and actors of this driver too


@contextmanager
def _started(address: str | None, workers: int | None, threads: int, gpus: float) -> Iterator[_Tasks]:
    with _cluster(address, workers, threads, gpus) as ray:
        yield _Tasks(ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_run), workers)


@contextmanager
def _started_actors(address: str | None, workers: int | None, threads: int, gpus: float) -> Iterator[_Actors]:
    with _cluster(address, workers, threads, gpus) as ray:
        resources = ray.cluster_resources()
        room = resources.get("GPU", 0) / gpus if gpus else resources["CPU"] / threads
        kind = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=-1)(_Worker)
        yield _Actors([kind.remote() for _ in range(workers or max(1, int(room)))])


def _run(function: Callable[..., object], *arguments: object) -> object:
    return function(*arguments)
