"""A cell's training and measurements over workers: whole groups of clients and whole blocks of texts, which come to the
same numbers wherever they are computed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from operator import methodcaller
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cllora.model.engine import Evaluation, HeadEntropies, TokenLosses
from cllora.model.learner import Learner
from cllora.model.patterns import Pattern
from cllora.runs.wrapped import Wrapped
from cllora.spec import Experiment, LocalSpec
from cllora.types import Ids, Job, Losses, Model, Samples, Trained, Vector

if TYPE_CHECKING:
    from cllora.runs.engines.pool import Pool
    from cllora.runs.work import CellWork

_T = TypeVar("_T")

SHARES = 4
"""Parts for each worker into which an evaluation is cut: a slow worker holds up the others by a share at most."""


class Spread(Wrapped):
    """A learner of which workers, each with its own copy of the base, do whatever is a pass through the network: a
    model that fills a device leaves no room on it for this process's passes.

    `texts` are the samples, where they are other than the study's, which workers have.
    """

    def __init__(self, learner: Learner, experiment: Experiment, pool: "Pool", texts: Samples | None = None) -> None:
        super().__init__(learner)
        self._learner, self._experiment, self._pool, self._texts = learner, experiment, pool, texts

    def over(self, samples: Samples) -> Self:
        texts = replace(samples, texts=(), columns={}, cache={})  # Tokens alone travel.
        return type(self)(self._learner.over(samples), self._experiment, self._pool, texts)

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> Sequence[Trained]:
        groups = self._learner.groups(jobs, local)
        trained = self._all([methodcaller("train", group, local, seed) for group in groups])
        return list(chain.from_iterable(trained))

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        blocks = self._learner.blocks(ids, context)
        shares = min(len(blocks), SHARES * (self._pool.at_once or 1))
        cuts = [len(blocks) * share // max(1, shares) for share in range(shares + 1)]
        parts = [
            partial(_block_losses, adapter, [ids[places] for places in blocks[start:stop]], context)
            for start, stop in pairwise(cuts)
        ]
        nll = np.zeros(len(ids))
        for places, losses in zip(blocks, chain.from_iterable(self._all(parts)), strict=True):
            nll[places] = losses
        return Losses(model, ids, nll, self.samples.predicted(ids, context or self.context))

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        return [self.evaluate(asked.model, asked.adapter, asked.ids, asked.context) for asked in evaluations]

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        use = next((use for use, own in self.patterns.items() if own is pattern), None)
        return self._all([partial(_token_losses, adapter, ids, use or pattern)])[0]

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        recalled: tuple[NDArray[np.bool_], Losses] = self._all([methodcaller("recall", adapter, ids)])[0]
        return recalled

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        entropies: HeadEntropies = self._all([methodcaller("head_entropies", adapter, ids)])[0]
        return entropies

    def _all(self, measures: Sequence[Callable[[Learner], _T]]) -> list[_T]:
        """The results of several measures, each with a worker's learner."""
        return self._pool.results([partial(_measured, self._experiment, self._texts, measure) for measure in measures])


def _measured(experiment: Experiment, texts: Samples | None, measure: Callable[[Learner], _T], work: "CellWork") -> _T:
    """Measure something in a worker."""
    with work.learner(experiment) as learner:
        return measure(learner if texts is None else learner.over(texts))


def _block_losses(
    adapter: Model | Vector, blocks: Sequence[Ids], context: int | None, learner: Learner
) -> list[NDArray[np.float64]]:
    """The losses of each block of samples under a model."""
    return [learner.evaluate("block", adapter, ids, context).nll for ids in blocks]


def _token_losses(
    adapter: Model | Vector, ids: Ids, pattern: Pattern | str | None, learner: Learner
) -> Sequence[TokenLosses]:
    """The losses of tokens under a pattern: the learner's own is named by its use, for what is kept of that one."""
    return learner.token_losses(adapter, ids, learner.patterns[pattern] if isinstance(pattern, str) else pattern)
