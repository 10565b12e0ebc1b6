"""The partitions of experiments outside of any study's folder: to be looked at, nothing is trained."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cllora.model.engine import Engine
from cllora.partition import assign
from cllora.runs.study_cache import StudyCache
from cllora.spec import Experiment
from cllora.types import Array, Ids, OnRead, Partition, Samples


def partitions_of(experiments: Sequence[Experiment], on_corpus: OnRead | None = None) -> list[Partition]:
    """The partition of each experiment; what they have in common is made once."""
    with TemporaryDirectory() as folder:
        cache = StudyCache(Path(folder), on_corpus)
        return [_partition_of(experiment, cache) for experiment in experiments]


def _partition_of(experiment: Experiment, cache: StudyCache) -> Partition:
    samples = cache.samples(experiment)

    def of_base(texts: Samples, ids: Ids) -> Array:
        return base_nll(cache.engine(experiment, samples), texts, ids)

    return assign(experiment, samples, of_base)


def base_nll(engine: Engine, samples: Samples, ids: Ids) -> Array:
    """The untrained base's summed losses of some samples, which may be other than the engine's own."""
    return engine.over(samples).evaluate("base", engine.initial(0), ids).nll
