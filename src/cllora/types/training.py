"""The values of a round: messages between server and clients, local training, and the round's result."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cllora.types.arrays import Ids
from cllora.types.layout import Arrays, Mask, Model, Vector
from cllora.types.records import RoundRecord


@dataclass(frozen=True)
class Work:
    """One piece of local training: where it starts, and what is added to its gradient.

    The gradient used is `g + mu * (w - center) + correction`, restricted to `trainable` (all of it if None; of several
    masks to one after the other, step by step). `gradient` asks for the mean of the plain minibatch gradients g along
    the way. Training starts at a model, at a bare adapter, or where the piece named `start` ended.

    `local` has the fields of `LocalSpec` that differ in this piece, such as `epochs`. With `moments` the optimiser
    starts from that state (from none, where it is empty), and gives its own back.
    """

    start: Model | Vector | str
    center: Vector | None = None
    mu: float = 0.0
    correction: Vector | None = None
    trainable: Mask | tuple[Mask, ...] | None = None
    gradient: bool = False
    local: Mapping[str, object] = field(default_factory=dict)
    moments: Arrays | None = None


@dataclass(frozen=True)
class Job:
    """A piece of work for a trainer: the samples it trains on, and the name that its draws go by.

    The work starts at a model. `context` is how many tokens of a text it sees, None for as many as the trainer's own
    context. `seed` is that of its draws, None for the one that all jobs are given to the trainer with.
    """

    work: Work
    ids: Ids
    name: tuple[str | int, ...]
    context: int | None = None
    seed: int | None = None

    @property
    def start(self) -> Model:
        """The model that training starts at."""
        start = self.work.start
        assert not isinstance(start, str), f"the piece '{start}' was to be trained first"
        return start if isinstance(start, Model) else Model(start)


@dataclass(frozen=True)
class Trained:
    """The result of a piece of work: the adapter after it, its cost, and the mean training loss in nats per token.

    `peak_bytes` is the most memory in use where it was trained, while it and those beside it were; None where that
    cannot be had. `moments` is the optimiser's state, where the work asked for it.
    """

    adapter: Vector
    samples: int
    tokens: int
    steps: int
    loss: float
    gradient: Vector | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None
    moments: Arrays | None = None


@dataclass(frozen=True)
class Task:
    """A chosen client's task: the arrays in `sent` are all that crosses the network."""

    round: int
    client: int
    sent: Arrays


@dataclass(frozen=True)
class Update:
    """A client's update: the arrays in `sent` cross the network; the counts weight it."""

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

    `model` is `global` or `global/<name>` (of several models at the server), `local/<client>` (that client's model
    just after its local training) or `personal/<client>`. All arrays have one shape, (samples,).
    """

    model: str
    sample: Ids
    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class Participant:
    """A client that took part in a round.

    `start` is the model that its shared piece of training began at, and `local` that at which it ended. `peak_bytes` is
    the most memory in use where it was trained; None where that cannot be had.
    """

    start: Model
    local: Model
    update: Update
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Round:
    """The state after a round and its measurements. Round 0 is the state before any training.

    `participants` are the clients that were chosen, sorted; a round that was read from disk has none.
    """

    number: int
    state: Arrays
    memories: Mapping[int, Arrays]
    losses: tuple[Losses, ...]
    record: RoundRecord
    participants: tuple[Participant, ...] = ()
