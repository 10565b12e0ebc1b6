"""The pool that a partitioner deals, and the kind of option that several share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from cllora.errors import UsageError
from cllora.partition.classes import quantile_classes, value_classes
from cllora.partition.deal import Deal
from cllora.registry import Registry
from cllora.spec import ALIASES, PartitionSpec
from cllora.types import Array, Ids


def _alpha(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if not number and value != "iid":
        raise PydanticCustomError("alpha", "must be a positive number or iid")
    return value


Alpha = Annotated[float | Literal["iid"], PlainValidator(_alpha)]
"""A Dirichlet strength: small is skewed, large is even, and `iid` is no skew at all, only chance."""


@dataclass(frozen=True)
class Axis:
    """A feature by which texts are divided into classes: its `values` (n,), the class of each (n,), and the `cuts`
    (C-1,)."""

    values: Array
    classes: NDArray[np.int64]
    cuts: Array

    @classmethod
    def from_values(cls, values: Array, num_classes: int, ordered: bool = True) -> "Axis":
        """Classes cut at the quantiles; or, of values without an order, a class for each distinct one.

        Raises:
            UsageError: a value is not finite.
        """
        classes, cuts = quantile_classes(values, num_classes) if ordered else value_classes(values)
        return cls(np.asarray(values, np.float64), classes, cuts)


@dataclass(frozen=True)
class Pool:
    """The samples to be dealt, with the measures of each. Arrays have shape (n,); position i is sample `ids[i]`.

    `ids` ascend. `values` is the feature that the skew is by, `classes` its quantile classes 0 to C-1, cut at `cuts`
    (C-1,).
    `lengths` counts a sample's own tokens, `tokens` those that the model sees: at most `context`.
    `columns` are the source's own and are indexed by sample id, not by position. `second` is the feature of `and_by`,
    `corrupted` says which texts are trained on in a corrupted form; None where there is none.
    """

    ids: Ids
    values: Array
    classes: NDArray[np.int64]
    cuts: Array
    lengths: NDArray[np.int64]
    tokens: NDArray[np.int64]
    context: int
    num_clients: int
    min_samples: int
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    second: Axis | None = None
    corrupted: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        return len(self.cuts) + 1

    def class_counts(self) -> NDArray[np.int64]:
        """Samples per class. Shape (C,)."""
        return np.bincount(self.classes, minlength=self.num_classes)

    def by_second(self) -> "Pool":
        """The same texts divided by the second feature.

        Raises:
            UsageError: there is none.
        """
        if self.second is None:
            raise UsageError("partition.and_alpha needs a second feature; name it as partition.and_by")
        second = self.second
        return replace(self, values=second.values, classes=second.classes, cuts=second.cuts, second=None)


def pool_of(
    spec: PartitionSpec,
    *,
    ids: Ids,
    values: Array,
    lengths: NDArray[np.int64],
    context: int,
    columns: Mapping[str, Sequence[object]] | None = None,
    ordered: bool = True,
    second: Axis | None = None,
    corrupted: NDArray[np.bool_] | None = None,
) -> Pool:
    """The pool that `spec` deals from: classes cut from the feature's `values`, tokens as the model sees them.

    Args:
        ids, values, lengths: the samples (ascending), their feature and their own (uncut) tokens; shape (n,).
        context: the model's window in tokens.
        ordered: whether values are amounts; if not, they are classes already, and each is one.
        second, corrupted: as `Pool` has them.

    Raises:
        UsageError: a feature value is not finite.
    """
    if (np.diff(ids) <= 0).any():
        raise ValueError("the pool's sample ids must ascend")
    first = Axis.from_values(values, spec.classes, ordered)
    return Pool(
        ids=ids,
        values=first.values,
        classes=first.classes,
        cuts=first.cuts,
        lengths=lengths,
        tokens=np.minimum(lengths, context),
        context=context,
        num_clients=spec.num_clients,
        min_samples=spec.min_samples,
        columns=columns or {},
        second=second,
        corrupted=corrupted,
    )


Partitioner = Callable[..., Deal | list[Ids]]
"""`scheme(pool, rng, *, options) -> Deal`, or a list with every client's positions in the pool."""


@dataclass(frozen=True)
class PartitionerFacts:
    """The facts of a scheme: whether its deal looks at the feature, so that clients are to differ in it."""

    by_feature: bool = True


partitioners: Registry[Partitioner, PartitionerFacts] = Registry(
    "partitioner", PartitionerFacts, ALIASES["partition.scheme"]
)


def check_enough(pool: Pool) -> None:
    """Refuse a pool of which not every client can have `min_samples`."""
    n, clients, least = len(pool), pool.num_clients, pool.min_samples
    if n >= clients * least:
        return
    ways = [f"partition.num_clients to {n // least} or less"] if n >= least else []
    ways += [f"partition.min_samples to {n // clients} or less"] if n >= clients else []
    advice = f"set {' or '.join(ways)}" if ways else "more data is needed"
    raise UsageError(f"partition: {n} samples cannot give {clients} clients at least {least} each; {advice}")
