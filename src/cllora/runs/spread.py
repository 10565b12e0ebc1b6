"""A cell's training and evaluation over workers: whole groups of clients and whole blocks of texts, which come to the same
numbers wherever they are computed."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from cllora.model.engine import Evaluation
from cllora.model.learner import Learner
from cllora.runs.wrapped import Wrapped
from cllora.spec import Experiment, LocalSpec
from cllora.types import Ids, Job, Losses, Model, Samples, Trained, Vector

if TYPE_CHECKING:
    from cllora.runs.engines.pool import Pool
    from cllora.runs.work import CellWork

SHARES = 4
"""Parts for each worker into which an evaluation is cut: a slow worker holds up the others by a share at most."""
WORKERS = 8
"""Workers that there are taken to be, where nobody knows."""


class Spread(Wrapped):
    """A learner around which workers train and evaluate, each with its own copy of the base."""

    def __init__(self, learner: Learner, experiment: Experiment, pool: "Pool") -> None:
        super().__init__(learner)
        self._learner, self._experiment = learner, experiment
        self._pool: Pool | None = pool

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> Sequence[Trained]:
        if self._pool is None:
            return self._learner.train(jobs, local, seed)
        groups = self._learner.groups(jobs, local)
        parts = [partial(_train, self._experiment, group, local, seed) for group in groups]
        return [trained for group in self._pool.results(parts) for trained in group]

    def over(self, samples: Samples) -> Self:
        """The same base over other samples, which workers do not have: it computes here."""
        other = copy.copy(self)
        other._inner = other._learner = self._learner.over(samples)
        other._pool = None
        return other

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        if self._pool is None:
            return self._learner.evaluate(model, adapter, ids, context)
        blocks = self._learner.blocks(ids, context)
        shares = min(len(blocks), SHARES * (self._pool.at_once or WORKERS))
        cuts = [len(blocks) * share // shares for share in range(shares + 1)] if shares else []
        parts = [
            partial(_evaluate, self._experiment, adapter, [ids[places] for places in blocks[start:stop]], context)
            for start, stop in zip(cuts, cuts[1:], strict=False)
        ]
        measured = [losses for share in self._pool.results(parts) for losses in share]
        nll = np.zeros(len(ids))
        for places, losses in zip(blocks, measured, strict=True):
            nll[places] = losses
        return Losses(model, ids, nll, self.samples.predicted(ids, context or self.context))

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        return [self.evaluate(asked.model, asked.adapter, asked.ids, asked.context) for asked in evaluations]


def _train(
    experiment: Experiment, group: Sequence[Job], local: LocalSpec, seed: int, work: "CellWork"
) -> Sequence[Trained]:
    """Train a group of clients, in a worker."""
    with work.learner(experiment) as learner:
        return learner.train(group, local, seed)


def _evaluate(
    experiment: Experiment, adapter: Model | Vector, blocks: Sequence[Ids], context: int | None, work: "CellWork"
) -> list[NDArray[np.float64]]:
    """Evaluate a model on some blocks of samples, in a worker; the losses of each."""
    with work.learner(experiment) as learner:
        return [learner.evaluate("part", adapter, ids, context).nll for ids in blocks]
