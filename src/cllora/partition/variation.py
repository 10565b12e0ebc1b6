"""The alpha whose `client_mix` has the owners' own total variation, whatever law made them."""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, gammaln, stdtrit

from cllora.partition.estimate import LEAST, MOST, Counts, Estimate, log_rising
from cllora.types import Array

SPAN = math.log(LEAST), math.log(MOST)


def variation_alpha(counts: Counts, level: float = 0.95) -> Estimate | None:
    """The alpha at which `client_mix` deals mixes as unlike as those of owners with these texts per class (K, C), by
    the mean over owners of their total variation from the pool.

    With few texts owners look more unlike than their mixes are. So for each class the concentration A_c is looked for
    at which owners of as many texts, their shares of the class from Beta(A_c p_c, A_c (1 - p_c)), would be expected to
    show the mean absolute deviation that is seen. The shares themselves then have the deviation d_c of that beta, and
    the owners the total variation sum_c d_c / 2, which is matched. A class in which less is seen than chance makes
    counts as much below zero. An owner with a share w of all texts is part of the pool that it is held against, which
    takes a factor sqrt(1 - w) off its deviation; that is put back. The interval is Student's t of the mean over owners,
    whose ends are matched in the same way.

    None if nothing can be told: there is one class, or one owner.
    """
    counts = np.asarray(counts, np.int64)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    owners, classes = counts.shape
    if classes < 2 or owners < 2:
        return None
    sizes, pooled = counts.sum(axis=1).astype(float), counts.sum(axis=0) / counts.sum()
    apart = np.abs(counts / sizes[:, None] - pooled) / np.sqrt(1 - sizes / sizes.sum())[:, None]
    half = float(stdtrit(owners - 1, (1 + level) / 2)) * apart.sum(axis=1).std(ddof=1) / math.sqrt(owners)
    spread = apart.std(axis=0)
    shifts = half * spread / spread.sum() if spread.any() else spread
    ends = [apart.mean(axis=0) + sign * shifts for sign in (0, 1, -1)]
    return Estimate(*(_alpha_of(float(_of_shares(seen, sizes, pooled).sum()), pooled) for seen in ends))


def expected_deviation(concentration: float, share: float, sizes: Array) -> float:
    """The mean over owners of n_k texts (K,) of E|X_k / n_k - p|, X the texts of a class with the pooled share p if the
    owner's share is from Beta(A p, A (1 - p)).

    X is beta-binomial, whose mean absolute deviation is, with a = A p, b = A (1 - p) and m the whole number below n p,
    2 (n - m) (m + a) P(X = m) / (a + b).
    """
    a, b, m = concentration * share, concentration * (1 - share), np.floor(sizes * share)
    chosen = gammaln(sizes + 1) - gammaln(m + 1) - gammaln(sizes - m + 1)
    even = m * math.log(share) + (sizes - m) * math.log1p(-share)
    uneven = log_rising(m, a) + log_rising(sizes - m, b) - log_rising(sizes, concentration)
    return float((2 * (sizes - m) * (m + a) * np.exp(chosen + even + uneven) / (sizes * concentration)).mean())


def beta_deviation(concentration: float, share: float) -> float:
    """E|q - p| of q from Beta(A p, A (1 - p)): 2 p^a (1 - p)^b / ((a + b) B(a, b))."""
    a, b = concentration * share, concentration * (1 - share)
    return 2 * math.exp(a * math.log(share) + b * math.log1p(-share) - float(betaln(a, b))) / concentration


def _of_shares(seen: Array, sizes: Array, pooled: Array) -> Array:
    """The deviations of owners' shares of the classes (C,), from those of their counts."""
    deviations = []
    for deviation, share in zip(seen.tolist(), pooled.tolist(), strict=True):
        chance = expected_deviation(MOST, share, sizes)
        sign = 1.0 if deviation >= chance else -1.0
        wanted = chance + abs(deviation - chance)
        deviations.append(sign * beta_deviation(_concentration(wanted, share, sizes), share))
    return np.array(deviations)


def _concentration(deviation: float, share: float, sizes: Array) -> float:
    """The concentration at which this deviation of counts is expected."""
    return math.exp(_root(lambda log_a: expected_deviation(math.exp(log_a), share, sizes) - deviation))


def _alpha_of(deviation: float, pooled: Array) -> float:
    """The alpha whose mixes have this sum of deviations over classes; 0 and infinity beyond those told apart."""
    classes = len(pooled)

    def excess(log_alpha: float) -> float:
        return sum(beta_deviation(math.exp(log_alpha) * classes, share) for share in pooled.tolist()) - deviation

    at = _root(excess)
    return 0.0 if at == SPAN[0] else math.inf if at == SPAN[1] else math.exp(at)


def _root(falling: Callable[[float], float]) -> float:
    """The place between the ends of `SPAN` at which a falling function is zero; the end that is nearest if none is."""
    if falling(SPAN[0]) <= 0:
        return SPAN[0]
    return SPAN[1] if falling(SPAN[1]) >= 0 else float(brentq(falling, *SPAN, xtol=1e-6))
