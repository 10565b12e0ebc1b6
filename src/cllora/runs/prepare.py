"""From samples to a partition: which can be used, which are tested on, which class each is in, who owns it."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cllora.corpus import BaseLosses, feature_values, repeated_in, unordered
from cllora.errors import UsageError
from cllora.partition import Axis, classes_of, make_partition, place_at_length, pool_of, rank_correlation
from cllora.runs.contexts import with_contexts
from cllora.runs.shared import OnCorpus, Shared
from cllora.seeds import rng
from cllora.spec import Choice, Experiment, PartitionSpec
from cllora.types import Ids, Partition, Samples

if TYPE_CHECKING:
    from cllora.model.engine import Engine

log = logging.getLogger("cllora")

LENGTHS = ("length", "seen_tokens")
LEFT = 0.1
"""From this rank correlation with length on, a feature at equal length is not called independent of it."""


def check_classes(asked: PartitionSpec) -> None:
    """Refuse a residual of what has none.

    Raises:
        UsageError: the feature is a length itself, or its numbers have no order.
    """
    if asked.residual_on is None:
        return
    if asked.by.name in LENGTHS:
        raise UsageError(f"partition.residual_on: at equal length nothing is left of {asked.by.name}; drop one of them")
    if asked.by.name in unordered:
        raise UsageError(f"partition.residual_on: {asked.by.name} is a class, of which there is no residual; drop it")


def deal(experiment: Experiment, samples: Samples, base: "Callable[[], Engine] | None" = None) -> Partition:
    """The partition of an experiment.

    The global test set is drawn first, from `rng(seed, "split")`, so that cells which differ in the partition
    alone are tested on the same texts. Classes are cut at the quantiles of the pool that is dealt. What is spoiled is
    measured and trained on in its spoiled form; clients and the global model are tested on texts as they were.

    Args:
        base: gives the experiment's base on these samples; called if the feature asks for its losses.

    Raises:
        UsageError: nothing is left to train on, or the scheme cannot deal these samples.
    """
    context = experiment.model.context
    every = np.arange(samples.originals, dtype=np.int64)
    usable = every[samples.predicted(every, context) > 0]
    if 0 < len(usable) < len(every):
        short = len(every) - len(usable)
        log.warning("%s texts have no token left to predict within context %s and are left out", f"{short:,}", context)
    if len(usable) == 0:
        raise UsageError(f"no text has a token left to predict within model.context {context}; raise it")
    pool, test = _split(experiment, samples, usable)
    trained = samples.trained(pool)
    values, residual = _values(experiment, samples, trained, base)
    dealing = pool_of(
        experiment.partition,
        ids=pool,
        values=values[trained],
        lengths=samples.lengths()[trained],
        context=context,
        columns=samples.columns,
        ordered=experiment.partition.by.name not in unordered,
        second=_second(experiment, samples, trained, base),
        spoiled=None if samples.trained_as is None else trained != pool,
    )
    _check_unordered(experiment.partition.by, dealing.num_classes, experiment.partition.classes)
    dealt = make_partition(experiment.partition, dealing, test, experiment.seed)
    class_of = np.full(len(samples), -1, np.int64)
    class_of[usable] = classes_of(values[usable], dealing.cuts)
    class_of[trained] = dealing.classes
    realised = {**_with_repeats(dealt.realised, samples, trained, test), **residual}
    realised["warnings"] = [*realised["warnings"], *_left_of_length(residual)]
    dealt = dataclasses.replace(dealt, train_ids=samples.trained(dealt.train_ids), class_of=class_of, realised=realised)
    return with_contexts(experiment, samples, dealt)


def deal_all(experiments: Sequence[Experiment], on_corpus: OnCorpus | None = None) -> list[Partition]:
    """The partition of each experiment, outside of any study's folder; what they have in common is made once."""
    with TemporaryDirectory() as folder:
        shared = Shared(Path(folder), on_corpus)
        dealt = []
        for experiment in experiments:
            samples = shared.samples(experiment)
            dealt.append(deal(experiment, samples, partial(shared.learner, experiment, samples)))
        return dealt


def _values(
    experiment: Experiment, samples: Samples, pool: Ids, base: "Callable[[], Engine] | None"
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The feature of all samples, at equal length if that is asked for; and then what that did to the pool."""
    asked = experiment.partition
    check_classes(asked)
    values = _feature(asked.by, experiment, samples, base)
    if asked.residual_on is None:
        return values, {}
    lengths = samples.lengths()
    places = place_at_length(values, lengths, pool)
    before, after = (rank_correlation(each[pool], lengths[pool]) for each in (values, places))
    return places, {"length_correlation": {"feature": before, "residual": after}}


def _left_of_length(residual: Mapping[str, Any]) -> list[str]:
    """A warning if the feature, at equal length, still goes with length."""
    left = residual["length_correlation"]["residual"] if residual else 0.0
    if abs(left) < LEFT:
        return []
    return [f"the feature at equal length still goes with length (rank correlation {left:+.2f}): too many equal values"]


def _second(experiment: Experiment, samples: Samples, pool: Ids, base: "Callable[[], Engine] | None") -> Axis | None:
    """The second feature of the pool, if one is asked for."""
    by, classes = experiment.partition.and_by, experiment.partition.and_classes
    if by is None:
        return None
    axis = Axis.of(_feature(by, experiment, samples, base)[pool], classes, by.name not in unordered)
    _check_unordered(by, len(axis.cuts) + 1, classes, "and_")
    return axis


def _feature(
    choice: Choice, experiment: Experiment, samples: Samples, base: "Callable[[], Engine] | None"
) -> NDArray[np.float64]:
    model, pattern = experiment.model, experiment.evaluation.pattern
    name = f"{model.model_dump_json()} {pattern.model_dump_json()} from {experiment.lora.start}"
    losses = None if base is None else BaseLosses(name, partial(_base_nll, base))
    return feature_values(samples, choice, model.context, losses)


def _base_nll(base: "Callable[[], Engine]", samples: Samples, ids: Ids) -> NDArray[np.float64]:
    """The untrained base's summed losses of some samples, which may be other than the engine's own."""
    engine = base()
    return engine.over(samples).evaluate("base", engine.initial(0), ids).nll


def _check_unordered(by: Choice, found: int, classes: int, prefix: str = "") -> None:
    """Classes without an order cannot be joined to fewer."""
    if by.name in unordered and found > classes:
        raise UsageError(
            f"partition.{prefix}by: {by.name} has {found} classes, which have no order to cut them by; "
            f"set partition.{prefix}classes to {found} or more"
        )


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
