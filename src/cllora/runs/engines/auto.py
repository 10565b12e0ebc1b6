"""The engine of a study that names none."""

import logging
import os

from cllora.errors import counted
from cllora.runs.engines.cores import cores, free_memory, may_have_gpu
from cllora.runs.engines.engine import Engine, Setting, engines
from cllora.runs.engines.inline import inline
from cllora.runs.engines.processes import processes
from cllora.runs.engines.size import bytes_of

VARIABLE = "CLLORA_ENGINE"

log = logging.getLogger("cllora")


@engines.register()
def auto(setting: Setting) -> Engine:
    """The engine that CLLORA_ENGINE names; else processes where there are several cells and cores, no GPU, memory for
    them, and not Windows; else inline."""
    named = os.environ.get(VARIABLE)
    if named:
        chosen: Engine = engines.bind(named, {})(setting)
        return chosen
    workers = workers_that_fit(setting)
    if workers < 2:
        return inline(setting)
    engine = processes(setting, workers=workers)
    threads = counted(engine.threads, "thread")
    log.info("engine: %s processes of %s; engine=inline computes one cell after the other", workers, threads)
    return engine


def workers_that_fit(setting: Setting) -> int:
    """Return how many processes at a time are of use here, by cells, cores and memory.

    1 where a GPU may be used, where other processes could not know all that the study names, and on Windows, where a
    file that the driver reads cannot be replaced.
    """
    if setting.only_here is not None or os.name == "nt":
        return 1
    experiments = [cell.experiment for cell in setting.cells]
    if any(experiment.model.device != "cpu" for experiment in experiments) and may_have_gpu():
        return 1
    most = min(len(experiments), cores() // (setting.threads or 1))
    if most < 2:
        return 1
    needed = max(bytes_of(experiment) for experiment in {e.model.name: e for e in experiments}.values())
    return max(1, min(most, free_memory() // needed))
