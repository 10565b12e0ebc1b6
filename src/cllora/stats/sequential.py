"""Looks at a growing number of seeds: when a study is looked at, and at which level each look decides.

A study that goes on until it is decided is looked at several times, and every look is a chance to be wrong. With K
looks planned, each decides at the level 1 - alpha / K: whatever the looks have to do with each other, the chance that
any of them is wrong is at most alpha (Bonferroni), if a look by itself is wrong as seldom as it says. So an interval
that is reported where a study stopped holds although it stopped there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cllora.stats.differences import p_of_difference, p_of_equivalence

GROWTH = 1.5
"""The number of pairs at a look over that at the look before."""


def looks(most: int, first: int) -> list[int]:
    """The numbers of seeds at which a study of at most `most` is looked at: `first`, half as many more each time, and
    `most` at last."""
    planned, seeds = [], first
    while seeds < most:
        planned.append(seeds)
        seeds = math.ceil(GROWTH * seeds)
    return [*planned, most]


def level_of_look(planned: int, alpha: float = 0.05) -> float:
    """The level at which each of so many planned looks decides."""
    return 1 - alpha / planned


def level_after(earlier: int, alpha: float = 0.05) -> float:
    """The level where seeds were added by hand to a study that had been looked at `earlier` times before at the full
    level: 1 - alpha / 2^earlier, so that all looks together are wrong with a chance of at most 2 alpha, however many
    follow."""
    return 1 - alpha * 0.5**earlier


@dataclass(frozen=True)
class Chances:
    """The ends of studies: the share that show a difference, that show it to be smaller than the margin, and the mean
    seeds at which they end. A difference that is also shown to be smaller than the margin counts as a difference."""

    differs: float
    equivalent: float
    seeds: float

    @property
    def decided(self) -> float:
        return self.differs + self.equivalent


def chances(
    effect: float,
    spread: float,
    margin: float,
    planned: Sequence[int],
    alpha: float,
    rng: np.random.Generator,
    studies: int = 400,
) -> Chances:
    """The chances of a comparison's answers, by simulated studies with normal differences.

    Args:
        effect, spread: the true difference and the standard deviation of differences over seeds.
        planned: the seeds at each look; one for a study with given seeds.
        alpha: the level at which each look decides.
    """
    differences = rng.normal(effect, spread, (studies, planned[-1]))
    differs, equivalent, seeds = np.zeros(studies, bool), np.zeros(studies, bool), np.full(studies, planned[-1])
    running = np.arange(studies)
    for look in planned:
        seen = differences[running, :look]
        p, p_within = p_of_difference(seen), p_of_equivalence(seen, margin)
        differs[running], equivalent[running] = p <= alpha, (p > alpha) & (p_within <= alpha)
        seeds[running] = look
        running = running[~(differs | equivalent)[running]]
    return Chances(float(differs.mean()), float(equivalent.mean()), float(seeds.mean()))
