"""Partitions of texts over clients, and their heterogeneity."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field

from cllora.errors import deprecated
from cllora.types.arrays import Ids
from cllora.types.plain import Json, to_plain


@dataclass(frozen=True, kw_only=True)
class ClientMeasures:
    """The measures of every client, in tuples over clients (K,).

    `tokens` counts those that the model sees, `class_shares` (K, C) is the client's class mix, `js` and `tv` are the
    Jensen-Shannon divergence (bits) and the total variation between it and the pool's. Where clients have contexts
    of their own, `tokens_in_context` counts the tokens within them of what the client trains on. `names` are the
    owners', where they have any.
    """

    names: tuple[str, ...] | None = None
    samples: tuple[int, ...]
    tokens: tuple[int, ...]
    class_shares: tuple[tuple[float, ...], ...]
    js: tuple[float, ...]
    tv: tuple[float, ...]
    contexts: tuple[int, ...] | None = None
    tokens_in_context: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The inequality of amounts over clients: their Gini coefficient, effective number (1 / sum p^2), and range."""

    gini: float
    effective_clients: float
    min: int
    median: float
    max: int


@dataclass(frozen=True, kw_only=True)
class VarianceBetween:
    """The share of a variance over texts that lies between clients (eta squared): of the feature's `values`, of their
    `log1p` (None if a value is negative), and of the `tokens` that the model sees. `chance` is the mean of any of them
    in a random deal of the same sizes, (K - 1) / (N - 1)."""

    values: float
    log1p: float | None
    tokens: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class TextClass:
    """One class of a feature: `from_ <= value < below` (None at the ends), its number of texts, its values' range,
    and what the model sees of its texts: `share_cut` are longer than the context."""

    from_: Annotated[float | None, Field(alias="from")]
    below: float | None
    samples: int
    min: float
    median: float
    max: float
    share_cut: float
    median_tokens: float
    median_length: float


@dataclass(frozen=True, kw_only=True)
class FeatureClasses:
    """The classes of the feature that the skew is by: the pool's class mix (C,), and each class."""

    pooled_shares: tuple[float, ...]
    described: tuple[TextClass, ...]


@dataclass(frozen=True, kw_only=True)
class Doses:
    """Corrupted texts: their `share` of the pool, of each client's texts (K,), and the share of the variance of being
    corrupted (0 or 1) that lies between clients."""

    share: float
    doses: tuple[float, ...]
    variance_between: float


@dataclass(frozen=True, kw_only=True)
class SecondFeature:
    """Heterogeneity by the second feature (`partition.and_by`), measured as by the first. `association` is how much the
    classes of the two go together in the pool (Cramér's V)."""

    js_mean: float
    tv_mean: float
    largest_class_share_mean: float
    class_shares: tuple[tuple[float, ...], ...]
    variance_between: float
    described: tuple[TextClass, ...]
    association: float


@dataclass(frozen=True, kw_only=True)
class LengthCorrelation:
    """Spearman's correlation with length of the feature, and of its place among texts of equal length."""

    feature: float
    residual: float


@dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """The measured heterogeneity of a partition's clients, whatever was asked for; `partition.json` is this.

    Measured on the deal, before each client's test part is split off; a text that is trained on in a corrupted form is
    measured in that form. `pool_samples`, `used`, `unused` and `repeated` count samples, `repeated` being those with
    several owners, and `without_owner` those of the unused in whose row a column of owners names none. `js_mean`,
    `tv_mean` and `largest_class_share_mean` are means over clients. `length_between_classes` is the share of the
    variance of log length that lies between the feature's classes.

    Of the partition as a whole: `moved` samples, to `topped_up` clients that were below the minimum; `warnings` are
    the confounds, as sentences; `tested_and_trained` samples are in one client's test part and another's training
    part; `untested_clients` have a single sample, and so no test part; `test_in_pool` global test texts are word for
    word among the clients' (None: not looked for).
    """

    num_clients: int
    pool_samples: int
    used: int
    unused: int
    without_owner: int = 0
    repeated: int
    clients: ClientMeasures
    js_mean: float
    tv_mean: float
    largest_class_share_mean: float
    samples: Spread
    tokens: Spread
    variance_between: VarianceBetween
    classes: FeatureClasses
    length_between_classes: float
    corrupted: Annotated[Doses | None, Field(validation_alias=AliasChoices("corrupted", "spoiled"))] = None
    and_by: SecondFeature | None = None
    moved: int = 0
    topped_up: int = 0
    tested_and_trained: int = 0
    untested_clients: int = 0
    warnings: tuple[str, ...] = ()
    test_in_pool: int | None = None
    length_correlation: LengthCorrelation | None = None


@dataclass(frozen=True)
class Partition:
    """A partition: for each client its training and test ids; and the ids of the global test set.

    Clients' ids lie one after the other; client k's are `ids[offsets[k]:offsets[k + 1]]`, so that a hundred
    thousand clients are four arrays. `class_of[id]` is a sample's class, the global test set's samples included.
    `contexts` (K,) are how many tokens of a text each client sees in training, where clients have contexts of their
    own. `measured` is what a reader wants to know of it; nothing is trained by that.
    """

    train_ids: Ids
    train_offsets: NDArray[np.int64]
    test_ids: Ids
    test_offsets: NDArray[np.int64]
    global_test: Ids
    measured: Heterogeneity | None = None
    class_of: NDArray[np.int64] | None = None
    contexts: tuple[int, ...] | None = None

    @property
    def num_clients(self) -> int:
        return len(self.train_offsets) - 1

    @property
    def heterogeneity(self) -> Heterogeneity:
        """The measured heterogeneity of the clients.

        Raises:
            ValueError: it was not measured, as that of a partition made by hand.
        """
        if self.measured is None:
            raise ValueError("the heterogeneity of this partition was not measured")
        return self.measured

    @property
    def realised(self) -> dict[str, Json]:
        """The heterogeneity as plain data, as users' own figures of 0.1.0 read it; `heterogeneity` has it typed."""
        deprecated("Partition.realised", "Partition.heterogeneity")
        return to_plain(self.heterogeneity)

    def train(self, client: int) -> Ids:
        return self.train_ids[self.train_offsets[client] : self.train_offsets[client + 1]]

    def test(self, client: int) -> Ids:
        return self.test_ids[self.test_offsets[client] : self.test_offsets[client + 1]]

    def context(self, client: int) -> int | None:
        """The client's context in training, in tokens; None for the model's."""
        return None if self.contexts is None else self.contexts[client]
