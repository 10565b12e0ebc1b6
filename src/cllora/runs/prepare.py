"""From samples to a partition: which can be used, which are tested on, which class each is in, who owns it."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cllora.corpus import feature_values, repeated_in
from cllora.errors import UsageError
from cllora.partition import classes_of, make_partition, pool_of
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.types import Ids, Partition, Samples

log = logging.getLogger("cllora")


def deal(experiment: Experiment, samples: Samples) -> Partition:
    """The partition of an experiment.

    The global test set is drawn first, from `rng(seed, "split")`, so that cells which differ in the partition
    alone are tested on the same texts. Classes are cut at the quantiles of the pool that is dealt.

    Raises:
        UsageError: nothing is left to train on, or the scheme cannot deal these samples.
    """
    context = experiment.model.context
    every = np.arange(len(samples), dtype=np.int64)
    usable = every[samples.predicted(every, context) > 0]
    if 0 < len(usable) < len(samples):
        short = len(samples) - len(usable)
        log.warning("%s texts have no token left to predict within context %s and are left out", f"{short:,}", context)
    if len(usable) == 0:
        raise UsageError(f"no text has a token left to predict within model.context {context}; raise it")
    pool, test = _split(experiment, samples, usable)
    values = feature_values(samples, experiment.partition.by, context)
    dealing = pool_of(
        experiment.partition,
        ids=pool,
        values=values[pool],
        lengths=samples.lengths()[pool],
        context=context,
        columns=samples.columns,
    )
    dealt = make_partition(experiment.partition, dealing, test, experiment.seed)
    class_of = np.full(len(samples), -1, np.int64)
    class_of[usable] = classes_of(values[usable], dealing.cuts)
    return dataclasses.replace(dealt, class_of=class_of, realised=_with_repeats(dealt.realised, samples, pool, test))


def _with_repeats(realised: Mapping[str, Any], samples: Samples, pool: Ids, test: Ids) -> dict[str, Any]:
    """Add how many global test texts clients also train on: `test_in_pool`, and a warning if there are any."""
    count = repeated_in(samples, test, pool)
    sentence = (
        f"{count:,} of the {len(test):,} global test texts are word for word among the texts that clients hold; "
        "remove repeated texts from the data"
    )
    warnings = [*realised["warnings"], *([sentence] if count else [])]
    return {**realised, "test_in_pool": count, "warnings": warnings}


def _split(experiment: Experiment, samples: Samples, usable: Ids) -> tuple[Ids, Ids]:
    """The pool that is dealt to clients, and the global test set."""
    if samples.test is not None:
        inside = np.isin(usable, samples.test)
    else:
        assert isinstance(experiment.data.test, float)
        size = max(1, round(len(usable) * experiment.data.test))
        inside = _mask(len(usable), rng(experiment.seed, "split").choice(len(usable), size, replace=False))
    pool, test = usable[~inside], usable[inside]
    if len(pool) == 0 or len(test) == 0:
        raise UsageError(f"{len(usable)} usable texts leave {len(pool)} to train and {len(test)} to test on")
    return pool, test


def _mask(size: int, places: NDArray[Any]) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[places] = True
    return mask
