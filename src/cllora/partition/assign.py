"""Assignment of texts to clients: the usable texts, the test split, the classes, and the client of each.

A feature may ask for the texts' losses under the frozen base (`perplexity`, `prefix_ifd`), and so the classes may
depend on the model. The caller gives these losses as a function; nothing here knows a network.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cllora.corpus import BaseLosses, feature_values, is_length, is_ordered, repeated_in
from cllora.errors import UsageError
from cllora.partition.classes import classes_of
from cllora.partition.contexts import contexts_of_clients, tokens_in_contexts
from cllora.partition.make import make_partition
from cllora.partition.pool import Axis, pool_of
from cllora.partition.residual import place_at_length, rank_correlation
from cllora.seeds import rng
from cllora.spec import Choice, Experiment, PartitionSpec
from cllora.types import Array, Ids, LengthCorrelation, Partition, Samples

log = logging.getLogger("cllora")

LEFT = 0.1
"""The rank correlation with length above which a feature at equal length is reported as dependent on length."""

BaseNll = Callable[[Samples, Ids], Array]
"""Each sample's loss under the frozen base: summed over its predicted tokens, in nats. Shape (len(ids),)."""


def check_residual(asked: PartitionSpec) -> None:
    """Refuse `residual_on` for features that have no residual.

    Raises:
        UsageError: the feature is a length itself, or its numbers have no order.
    """
    if asked.residual_on is None:
        return
    if is_length(asked.by.name):
        raise UsageError(f"partition.residual_on: at equal length nothing is left of {asked.by.name}; drop one of them")
    if not is_ordered(asked.by.name):
        raise UsageError(f"partition.residual_on: {asked.by.name} is a class, of which there is no residual; drop it")


def assign(experiment: Experiment, samples: Samples, base_nll: BaseNll | None = None) -> Partition:
    """The partition of an experiment.

    The global test set is drawn first, from `rng(seed, "split")`, so that cells which differ in the partition
    alone are tested on the same texts. Classes are cut at the quantiles of the pool that is dealt. What is corrupted is
    measured and trained on in its corrupted form; clients and the global model are tested on texts as they were.

    Args:
        base_nll: the losses of the experiment's base; called if a feature asks for them.

    Raises:
        UsageError: nothing is left to train on, or the scheme cannot deal these samples.
    """
    asked = experiment.partition
    check_residual(asked)
    usable = _usable(samples, experiment.model.context)
    pool_ids, test = _split(experiment, samples, usable)
    texts = _Texts(experiment, samples, samples.trained(pool_ids), base_nll)
    values, correlation = texts.at_equal_length()
    pool = pool_of(
        asked,
        ids=pool_ids,
        values=values[texts.trained],
        lengths=samples.lengths()[texts.trained],
        context=experiment.model.context,
        columns=samples.columns,
        ordered=is_ordered(asked.by.name),
        second=texts.second(),
        corrupted=None if samples.trained_as is None else texts.trained != pool_ids,
    )
    _check_unordered(asked.by, pool.num_classes, asked.classes)
    class_of = np.full(len(samples), -1, np.int64)
    class_of[usable] = classes_of(values[usable], pool.cuts)
    class_of[texts.trained] = pool.classes
    dealt = make_partition(asked, pool, test, experiment.chance)
    partition = replace(dealt, train_ids=samples.trained(dealt.train_ids), class_of=class_of)
    return _measured(_with_contexts(partition, experiment, samples), texts, correlation)


@dataclass(frozen=True)
class _Texts:
    """The texts of an experiment and their features. `trained` are the pool's samples as they are trained on."""

    experiment: Experiment
    samples: Samples
    trained: Ids
    base_nll: BaseNll | None

    def feature(self, by: Choice) -> Array:
        """A feature of all samples. Shape (len(samples),)."""
        model, pattern = self.experiment.model, self.experiment.evaluation.pattern
        base = f"{model.model_dump_json()} {pattern.model_dump_json()} from {self.experiment.lora.start}"
        losses = None if self.base_nll is None else BaseLosses(base, self.base_nll)
        return feature_values(self.samples, by, model.context, losses)

    def at_equal_length(self) -> tuple[Array, LengthCorrelation | None]:
        """The feature of all samples, at equal length if that is asked for; and then what that did to the pool."""
        asked = self.experiment.partition
        values = self.feature(asked.by)
        if asked.residual_on is None:
            return values, None
        lengths = self.samples.lengths()
        places = place_at_length(values, lengths, self.trained)
        before, after = (rank_correlation(v[self.trained], lengths[self.trained]) for v in (values, places))
        return places, LengthCorrelation(feature=before, residual=after)

    def second(self) -> Axis | None:
        """The second feature of the pool, if one is asked for."""
        by, classes = self.experiment.partition.and_by, self.experiment.partition.and_classes
        if by is None:
            return None
        axis = Axis.from_values(self.feature(by)[self.trained], classes, is_ordered(by.name))
        _check_unordered(by, len(axis.cuts) + 1, classes, "and_")
        return axis


def _usable(samples: Samples, context: int) -> Ids:
    """The original samples of which a token is predicted within the context."""
    originals = np.arange(samples.originals, dtype=np.int64)
    usable = originals[samples.predicted(originals, context) > 0]
    if len(usable) == 0:
        raise UsageError(f"no text has a token left to predict within model.context {context}; raise it")
    if len(usable) < len(originals):
        short = len(originals) - len(usable)
        log.warning("%s texts have no token left to predict within context %s and are left out", f"{short:,}", context)
    return usable


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


def _mask(size: int, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[places] = True
    return mask


def _check_unordered(by: Choice, distinct: int, classes: int, prefix: str = "") -> None:
    """Classes without an order cannot be joined to fewer."""
    if distinct > classes and not is_ordered(by.name):
        raise UsageError(
            f"partition.{prefix}by: {by.name} has {distinct} classes, which have no order to cut them by; "
            f"set partition.{prefix}classes to {distinct} or more"
        )


def _with_contexts(partition: Partition, experiment: Experiment, samples: Samples) -> Partition:
    """The partition with the clients' contexts of their own, if these are asked for."""
    asked = experiment.local.contexts
    if asked is None:
        return partition
    measured = partition.heterogeneity
    names = measured.clients.names
    contexts = contexts_of_clients(asked, partition.num_clients, names, experiment.model.context)
    partition = replace(partition, contexts=contexts)
    clients = replace(measured.clients, contexts=contexts, tokens_in_context=tokens_in_contexts(partition, samples))
    return replace(partition, measured=replace(measured, clients=clients))


def _measured(partition: Partition, texts: _Texts, correlation: LengthCorrelation | None) -> Partition:
    """The partition with the measures that need the texts: how many global test texts clients also train on, and
    whether the feature, at equal length, still goes with length."""
    repeats = repeated_in(texts.samples, partition.global_test, texts.trained)
    measured = partition.heterogeneity
    warnings = [
        *measured.warnings,
        _repeats(repeats, len(partition.global_test)),
        "" if correlation is None else _left_of_length(correlation.residual),
    ]
    return replace(
        partition,
        measured=replace(
            measured,
            test_in_pool=repeats,
            length_correlation=correlation,
            warnings=tuple(sentence for sentence in warnings if sentence),
        ),
    )


def _repeats(count: int, tested: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of the {tested:,} global test texts are word for word among the texts that clients hold; "
        "remove repeated texts from the data"
    )


def _left_of_length(correlation: float) -> str:
    if abs(correlation) < LEFT:
        return ""
    went = f"rank correlation {correlation:+.2f}"
    return f"the feature at equal length still goes with length ({went}): too many equal values"
