"""A cell's training and measurements over workers: whole groups of clients and whole blocks of texts, which come to the
same numbers wherever they are computed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

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
        groups = [(group, local, seed) for group in self._learner.groups(jobs, local)]
        return [trained for group in self._all(Learner.train, groups) for trained in group]

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        blocks = self._learner.blocks(ids, context)
        shares = min(len(blocks), SHARES * (self._pool.at_once or 1))
        cuts = [len(blocks) * share // max(1, shares) for share in range(shares + 1)]
        parts = [(adapter, [ids[places] for places in blocks[start:stop]], context) for start, stop in pairwise(cuts)]
        measured = [losses for share in self._all(_block_losses, parts) for losses in share]
        nll = np.zeros(len(ids))
        for places, losses in zip(blocks, measured, strict=True):
            nll[places] = losses
        return Losses(model, ids, nll, self.samples.predicted(ids, context or self.context))

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        return [self.evaluate(asked.model, asked.adapter, asked.ids, asked.context) for asked in evaluations]

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        use = next((use for use, own in self.patterns.items() if own is pattern), None)
        losses: Sequence[TokenLosses] = self._one(_token_losses, adapter, ids, use or pattern)
        return losses

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        recalled: tuple[NDArray[np.bool_], Losses] = self._one(Learner.recall, adapter, ids)
        return recalled

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        entropies: HeadEntropies = self._one(Learner.head_entropies, adapter, ids)
        return entropies

    def _one(self, measure: Callable[..., Any], *asked: object) -> Any:  # Any: what is measured
        """Have a worker measure something with its learner."""
        return self._all(measure, [asked])[0]

    def _all(self, measure: Callable[..., Any], asked: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Have workers measure each of several things."""
        return self._pool.results(
            [partial(_measured, self._experiment, self._texts, measure, given) for given in asked]
        )


def _measured(
    experiment: Experiment,
    texts: Samples | None,
    measure: Callable[..., object],
    given: Sequence[object],
    work: "CellWork",
) -> object:
    """Measure something in a worker."""
    with work.learner(experiment) as learner:
        return measure(learner if texts is None else learner.over(texts), *given)


def _block_losses(
    learner: Learner, adapter: Model | Vector, blocks: Sequence[Ids], context: int | None
) -> list[NDArray[np.float64]]:
    """The losses of each block of samples under a model."""
    return [learner.evaluate("block", adapter, ids, context).nll for ids in blocks]


def _token_losses(
    learner: Learner, adapter: Model | Vector, ids: Ids, pattern: Pattern | str | None
) -> Sequence[TokenLosses]:
    """The losses of tokens under a pattern: the learner's own is named by its use, for what is kept of that one."""
    return learner.token_losses(adapter, ids, learner.patterns[pattern] if isinstance(pattern, str) else pattern)
