"""The engine's interface: local training and the evaluation of adapters over one frozen base.

The rooms above ask for these protocols and for nothing else. `cllora.model.learner.Learner` is an `Engine` in this
process; one that trains elsewhere has the same methods. Arrays and numbers alone go in and out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cllora.model.patterns import Pattern
from cllora.spec import LocalSpec
from cllora.types import Environment, Ids, Job, Layout, Losses, Model, Samples, Trained, Vector

if TYPE_CHECKING:
    from cllora.model.tokenizer import ModelTokenizer


@dataclass(frozen=True)
class TokenLosses:
    """The loss of every predicted token of some samples, in nats. All arrays are (tokens,).

    `sample` is the id of the token's sample, and `position` how many tokens of its text come before it, special ones
    included.
    """

    sample: Ids
    position: NDArray[np.int64]
    nll: NDArray[np.float64]


@dataclass(frozen=True)
class HeadEntropies:
    """Entropy of attention heads, (layers, heads), mean over the texts' positions i from 2 (`model.entropy`).

    `nats`: H_i; `share`: H_i / ln i, of the most that i visible tokens allow.
    """

    nats: NDArray[np.float64]
    share: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation among several: what `Evaluator.evaluate` is given."""

    model: str
    adapter: Model | Vector
    ids: Ids
    context: int | None = None


class Trainer(Protocol):
    """Trains adapters on clients' samples."""

    @property
    def layout(self) -> Layout:
        """Names and shapes of the tensors inside an adapter."""
        ...

    def initial(self, seed: int) -> Vector:
        """The adapter that every client starts from (P,)."""
        ...

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> Sequence[Trained]:
        """The result of each job, in the order of `jobs`. Draws depend on `seed`, or the job's own, and on the job's
        name alone."""
        ...


class Evaluator(Protocol):
    """Measures models, or bare adapters, on `samples`, whose first `context` tokens the base reads.

    Under the pattern of attention of evaluation, `patterns["evaluation"]`, where nothing else is said;
    `patterns["training"]` is that of training.
    """

    @property
    def samples(self) -> Samples: ...

    @property
    def context(self) -> int: ...

    @property
    def patterns(self) -> Mapping[str, Pattern]: ...

    @property
    def tokenizer(self) -> "ModelTokenizer":
        """The base's own."""
        ...

    def is_base(self, adapter: Model | Vector) -> bool:
        """Whether a model is the base."""
        ...

    def over(self, samples: Samples) -> Self:
        """The same base, over other samples."""
        ...

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        """Summed negative log-likelihood (nats) and predicted tokens of every sample, as a block called `model`.

        `context` is how many tokens of a text are read, None for the evaluator's own.
        """
        ...

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        """The losses of each evaluation; some may be made in the same passes, and differ by rounding then."""
        ...

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        """The loss of every predicted token, in blocks whose order is always the same."""
        ...

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        """Whether greedy decoding after each sample's prompt gives all the rest of it (len(ids),); and its loss."""
        ...

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        """Entropy of every attention head under full attention."""
        ...


class Engine(Trainer, Evaluator, Protocol):
    """All that a run needs: trains, measures, says what it runs on, and writes an adapter down."""

    def describe(self) -> Environment:
        """The description of what it runs on, for `environment.json`: hardware, precision, communication, model,
        attention."""
        ...

    def save_adapter(self, adapter: Model | Vector, folder: Path) -> None:
        """Write a model in PEFT's format, its frozen matrices as more ranks; or the whole model, where it is
        trained."""
        ...
