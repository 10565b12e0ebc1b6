"""Cells as jobs of Slurm, by submitit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from cllora.runs.engines.engine import Engine, Setting, elsewhere, engines
from cllora.runs.engines.following import Followed, Handle

ADVICE = "give a job more (engine.mem_gb, engine.timeout_min), or less to keep in memory (local.batch_size)"
LOGS = ".slurm"
"""In the study's folder: what submitit writes of each job, and the jobs' own output."""


@engines.register(package="submitit", extra="slurm")
def slurm(
    setting: Setting,
    *,
    workers: PositiveInt | None = None,
    threads: PositiveInt = 1,
    gpus: int = 0,
    mem_gb: float | None = None,
    timeout_min: PositiveInt = 240,
    partition: str | None = None,
    account: str | None = None,
    cluster: Literal["slurm", "local"] = "slurm",
    parameters: dict[str, str | int] | None = None,
    together: PositiveInt = 1,
) -> Engine:
    """A job for each cell, with `threads` cores, `gpus` GPUs and `mem_gb` of memory for `timeout_min` minutes, at most
    `workers` in the queue at a time; or for `together` cells, in the same passes over their base. `parameters` are
    further ones of `sbatch`, such as {qos: long}; `cluster: local` runs the jobs on this machine instead, to try things
    out."""
    elsewhere(setting)
    per_job = setting.threads or threads
    asked = {"cpus_per_task": per_job, "gpus_per_node": gpus, "mem_gb": mem_gb, "timeout_min": timeout_min}
    named = {"slurm_partition": partition, "slurm_account": account, "slurm_additional_parameters": parameters}
    given = {key: value for key, value in {**asked, **named}.items() if value}
    folder = setting.folder / LOGS
    started = partial(_started, folder, cluster, given, workers)
    return Followed(per_job, started, ADVICE, setting.together or together, widely=cluster == "slurm")


class _Jobs:
    """Cells as jobs; when they begin is Slurm's to say."""

    def __init__(self, executor: Any, at_once: int | None) -> None:  # Any: submitit's, which is imported late
        self.at_once = at_once
        self._executor = executor
        self._jobs: list[Any] = []  # Any: submitit's too

    def submit(self, function: Callable[..., object], *arguments: object) -> Handle:
        handle: Handle = self._executor.submit(function, *arguments)
        self._jobs.append(handle)
        return handle

    def stop(self) -> None:
        """Cancel every job that has not ended."""
        for job in self._jobs:
            if not job.done():
                job.cancel(check=False)


@contextmanager
def _started(folder: Path, cluster: str, given: Mapping[str, object], workers: int | None) -> Iterator[_Jobs]:
    import submitit

    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    executor.update_parameters(**given)
    jobs = _Jobs(executor, workers)
    try:
        yield jobs
    finally:
        jobs.stop()
