"""An engine around another, for what does some of its work in another way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cllora.model.engine import Engine, Evaluation, HeadEntropies, TokenLosses
from cllora.model.patterns import Pattern
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import LocalSpec
from cllora.types import Environment, Ids, Job, Layout, Losses, Model, Samples, Trained, Vector


class Wrapped:
    """An engine that does everything as the one within does it."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    @property
    def layout(self) -> Layout:
        return self._inner.layout

    @property
    def samples(self) -> Samples:
        return self._inner.samples

    @property
    def context(self) -> int:
        return self._inner.context

    @property
    def patterns(self) -> Mapping[str, Pattern]:
        return self._inner.patterns

    @property
    def tokenizer(self) -> ModelTokenizer:
        return self._inner.tokenizer

    def initial(self, seed: int) -> Vector:
        return self._inner.initial(seed)

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> Sequence[Trained]:
        return self._inner.train(jobs, local, seed)

    def is_base(self, adapter: Model | Vector) -> bool:
        return self._inner.is_base(adapter)

    def over(self, samples: Samples) -> Self:
        return type(self)(self._inner.over(samples))

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        return self._inner.evaluate(model, adapter, ids, context)

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        return self._inner.evaluate_all(evaluations)

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        return self._inner.token_losses(adapter, ids, pattern)

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        return self._inner.recall(adapter, ids)

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        return self._inner.head_entropies(adapter, ids)

    def describe(self) -> Environment:
        return self._inner.describe()

    def save_adapter(self, adapter: Model | Vector, folder: Path) -> None:
        self._inner.save_adapter(adapter, folder)
