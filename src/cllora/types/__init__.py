"""The values that flow through a study. All frozen, all plain arrays and numbers; nothing here remembers a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cllora.types.arrays import Array, Ids, OnRead
from cllora.types.environment import (
    AttentionRecord,
    BaseRecord,
    DataRecord,
    Environment,
    Hardware,
    MessageSizes,
    Origin,
    Package,
)
from cllora.types.partition import (
    ClientMeasures,
    Doses,
    FeatureClasses,
    Heterogeneity,
    LengthCorrelation,
    Partition,
    SecondFeature,
    Spread,
    TextClass,
    VarianceBetween,
)
from cllora.types.plain import Json, from_plain, to_plain
from cllora.types.samples import EndingTokenizer, Samples, Tokenizer

__all__ = [
    "Array",
    "Arrays",
    "AttentionRecord",
    "BaseRecord",
    "ClientMeasures",
    "DataRecord",
    "Doses",
    "EndingTokenizer",
    "Environment",
    "FeatureClasses",
    "Hardware",
    "Heterogeneity",
    "Ids",
    "Job",
    "Json",
    "Layout",
    "LengthCorrelation",
    "Losses",
    "MessageSizes",
    "OnRead",
    "Origin",
    "Package",
    "Participant",
    "Partition",
    "Round",
    "Samples",
    "SecondFeature",
    "Spread",
    "Task",
    "TextClass",
    "Tokenizer",
    "Trained",
    "Update",
    "VarianceBetween",
    "Vector",
    "Work",
    "from_plain",
    "to_plain",
]

Vector = NDArray[np.float32]
"""An adapter: everything trainable, flat, float32, in the order of its `Layout`."""

Arrays = Mapping[str, NDArray[np.float32]]
"""Named vectors: a server's state (its `adapter` among them), a client's memory, or what crosses the network."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors inside an adapter vector, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """How many numbers the vector holds."""
        return int(sum(np.prod(shape) for shape in self.shapes))

    def split(self, vector: Vector) -> dict[str, NDArray[np.float32]]:
        """The tensors by name, as views of `vector` (size,)."""
        tensors: dict[str, NDArray[np.float32]] = {}
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + int(np.prod(shape))
            tensors[name] = vector[start:stop].reshape(shape)
            start = stop
        return tensors

    def join(self, tensors: Mapping[str, NDArray[np.float32]]) -> Vector:
        """The inverse of `split`."""
        return np.concatenate([np.asarray(tensors[name], np.float32).ravel() for name in self.names])


@dataclass(frozen=True)
class Work:
    """One piece of local training, seen from inside the client: where it starts and what pulls at it.

    The gradient used is `g + mu * (w - center) + correction`, restricted to `trainable` (all of it if None).
    `gradient` asks for the mean of the plain minibatch gradients g along the way to be returned.
    """

    start: Vector
    center: Vector | None = None
    mu: float = 0.0
    correction: Vector | None = None
    trainable: NDArray[np.bool_] | None = None
    gradient: bool = False


@dataclass(frozen=True)
class Job:
    """A piece of work for a learner: the samples it trains on, and the name that its draws go by.

    `context` is how many tokens of a text it sees, None for as many as the learner's own context.
    """

    work: Work
    ids: Ids
    name: tuple[str | int, ...]
    context: int | None = None


@dataclass(frozen=True)
class Trained:
    """What a piece of work came to: the adapter after it, its cost, and the mean training loss in nats per token.

    `peak_bytes` is the most memory in use meanwhile where it was trained; None where that cannot be had.
    """

    adapter: Vector
    samples: int
    tokens: int
    steps: int
    loss: float
    gradient: Vector | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Task:
    """What a chosen client is sent: the arrays in `sent` are all that crosses the network."""

    round: int
    client: int
    sent: Arrays


@dataclass(frozen=True)
class Update:
    """What comes back: the arrays in `sent` cross the network; the counts weigh it."""

    round: int
    client: int
    sent: Arrays
    samples: int
    tokens: int
    steps: int
    train_loss: float


@dataclass(frozen=True)
class Losses:
    """A block of the loss table: one model's summed negative log-likelihood (nats) and token count per sample.

    `model` is `global`, `local/<client>` (that client's adapter just after its local training) or
    `personal/<client>`. All arrays have one shape, (samples,).
    """

    model: str
    sample: Ids
    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class Participant:
    """A client that took part in a round: the adapter it was sent, its own just after local training, and its update.

    `peak_bytes` is the most memory in use where it was trained; None where that cannot be had.
    """

    sent: Vector
    local: Vector
    update: Update
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Round:
    """State after a round and what was measured in it. Round 0 is the state before any training.

    `participants` are the clients that were chosen, sorted; a round that was read from disk has none.
    """

    number: int
    state: Arrays
    memories: Mapping[int, Arrays]
    losses: tuple[Losses, ...]
    record: Mapping[str, Any]
    participants: tuple[Participant, ...] = ()
