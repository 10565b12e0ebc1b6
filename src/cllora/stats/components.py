"""Variance components: where the spread of a difference over seeds comes from.

A seed's difference is a mean over test texts and rounds. From the differences of single texts and rounds follows how
much of its variance the finite number of texts brings, and how much the rounds; the rest is drawn once for a seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cllora.stats.paired import Numbers


@dataclass(frozen=True)
class Differences:
    """One seed's differences on the same texts in several rounds.

    nll: the text's loss in one run minus that in the other, summed over its tokens (T, n). tokens: predicted (n,).
    """

    nll: Numbers
    tokens: Numbers

    @property
    def by_round(self) -> Numbers:
        """The differences per token after each round (T,)."""
        return np.asarray(self.nll.sum(axis=1) / self.tokens.sum())

    @property
    def mean(self) -> float:
        """The difference per token, mean over the rounds."""
        return float(self.by_round.mean())

    @property
    def of_texts(self) -> float:
        """The variance of `mean` over draws of as many texts: of a ratio of sums, linearised.

        n / (n - 1) sum_i e_i^2 / (sum_i w_i)^2, e_i = mean_t D_ti - mean w_i; NaN with one text.
        """
        return self._of_texts(self.nll.mean(axis=0))

    @property
    def of_rounds(self) -> float:
        """The variance of `mean` over draws of as many rounds, these being independent but for a trend.

        Half the mean square of the change from one round to the next, less what texts bring of that, over T. It may be
        below zero by chance. NaN with one round.
        """
        changes = np.diff(self.nll, axis=0)
        if not len(changes):
            return np.nan
        squares = np.diff(self.by_round) ** 2 - [self._of_texts(change) for change in changes]
        return float(squares.mean() / 2 / len(self.nll))

    def _of_texts(self, nll: Numbers) -> float:
        n, tokens = len(self.tokens), self.tokens.sum()
        left = nll - nll.sum() / tokens * self.tokens
        return float(n / (n - 1) * (left**2).sum() / tokens**2) if n > 1 else np.nan


@dataclass(frozen=True)
class Components:
    """The variance of a difference over seeds, and its parts, which are no less than zero.

    total: as observed. texts, rounds: means over seeds of what the finite number of test texts and of rounds bring; the
    rounds' part is mostly who was chosen in them. rest: what is left of the total, which is drawn once for a seed: the
    deal, and the adapter's start.
    """

    total: float
    texts: float
    rounds: float
    rest: float

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of texts, rounds and the rest in their sum; NaN where nothing varies."""
        parts = np.array([self.texts, self.rounds, self.rest])
        texts, rounds, rest = parts / parts.sum() if parts.sum() > 0 else np.full(3, np.nan)
        return float(texts), float(rounds), float(rest)


def components(seeds: Sequence[Differences], same_texts: bool = False) -> Components:
    """The variance components of the mean difference of several seeds.

    Args:
        same_texts: all seeds have the same texts, so that differences do not vary with these.

    Raises:
        ValueError: there are fewer than two seeds.
    """
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} seeds have no variance")
    total = float(np.var([seed.mean for seed in seeds], ddof=1))
    texts = 0.0 if same_texts else max(0.0, float(np.mean([seed.of_texts for seed in seeds])))
    rounds = max(0.0, float(np.nan_to_num(np.mean([seed.of_rounds for seed in seeds]))))
    return Components(total, texts, rounds, max(0.0, total - texts - rounds))
