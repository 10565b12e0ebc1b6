"""Estimates of alpha from owners: the concentration of the Dirichlet draw that most likely made them.

The schemes go from an alpha to owners (`client_mix`, `quantity`); this goes the other way, in their parametrisation, so
that real owners can be put on the scale that studies are run on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import chdtri, gammaln, logsumexp

from cllora.types import Array

Counts = NDArray[np.int64]
LogLikelihood = Callable[[float], float]

LEAST, MOST = 1e-4, 1e6
"""Alphas beyond are called 0 (an owner has one class; one owner has all) and infinity (no skew but chance)."""
STEPS = 41
PILE = 3
"""So many owners with the smallest size may have been brought up to it; two share it by chance too often."""


@dataclass(frozen=True)
class Estimate:
    """An alpha and the ends of its 95 % interval. Infinity is `iid`: no more difference than chance makes."""

    alpha: float
    low: float
    high: float


def mix_alpha(counts: Counts) -> Estimate | None:
    """The alpha of `client_mix` that is most likely to have given owners these texts per class (K, C).

    Owner k's mix is drawn from Dir(alpha * C * p), p being the pooled class shares and C the classes that have a text,
    its n_k texts from the mix: counts are Dirichlet-multinomial (Mosimann 1962). With a_c = alpha * C * p_c,
    A = alpha * C and the rising factorial x^(n) = x (x + 1) ... (x + n - 1), the log-likelihood is, up to a constant,

        sum_k [ sum_c log a_c^(n_kc) - log A^(n_k) ]  -  (C - 1) / 2 * log sum_k n_k / (1 + (n_k - 1) / (1 + A))

    The last term makes up for p being taken from the same texts, without which few owners look too alike: it is half
    the log of the information on p (Cox and Reid 1987), and does what dividing by K - 1 does for a variance.

    None if nothing can be told: there is one class, or no owner has two texts.
    """
    counts = np.asarray(counts, np.int64)
    counts = counts[:, counts.sum(axis=0) > 0]
    classes, sizes = len(counts.T), Tally.from_numbers(counts.sum(axis=1))
    if classes < 2:
        return None
    columns = [Tally.from_numbers(column) for column in counts.T]
    prior = counts.sum(axis=0) / counts.sum()

    def gain(alpha: float) -> float:
        """The log-likelihood less that of no skew at all (alpha infinite)."""
        total = alpha * classes
        own = 0.0
        for column, share in zip(columns, prior, strict=True):
            own += column.sum(log_rising(column.values, total * share))
        informative = sizes.values * (1 + total) / (sizes.values + total)
        adjustment = (classes - 1) / 2 * math.log(sizes.sum(informative) / sizes.sum(sizes.values))
        return own - sizes.sum(log_rising(sizes.values, total)) - adjustment

    return likeliest(gain, 0.0)


def size_alpha(sizes: Counts) -> Estimate | None:
    """The alpha of `quantity` that is most likely to have given owners so many texts (K,).

    Owners' shares are drawn from Dir(alpha, ..., alpha), texts fall to owners by these shares. With the total given,
    Dirichlet-multinomial sizes are as independent negative binomial ones of shape alpha and any one mean mu. The
    smallest sizes can be read in two ways:

        unseen:     owners without a text are never seen, whatever their number, so that sizes are at least one:
                    sum_k log P(n_k | alpha, mu, n_k > 0)  +  1/2 log Var(n | alpha, mu, n > 0)
        topped up:  all owners are seen, and those below the smallest size m were brought up to it with texts of the
                    largest, as `min_samples` does, so that they had at most m:
                    sum_{n_k > m} log P(n_k | alpha, mu)  +  sum_{n_k = m} log P(n <= m | alpha, mu)
                    +  1/2 log Var(n | alpha, mu)

    where mu is such that the mean size is what it is, and the last term of each conditions on the total, by the normal
    approximation of its chance (Cox and Reid 1987). The likelihood of an alpha is that under the likelier reading. The
    second is open if `PILE` owners or more have m texts and m is below half the mean: near the mean a shared smallest
    size says that owners do not differ. Owners left out for having too few texts are in neither.

    None if nothing can be told: there are fewer than two owners, or all have a single text.
    """
    sizes = np.asarray(sizes, np.int64)
    sizes = sizes[sizes > 0]
    if len(sizes) < 2 or sizes.max() == 1:
        return None
    tally, mean = Tally.from_numbers(sizes), float(sizes.mean())
    least, sharing = tally.values[0], tally.times[0]

    def unseen(alpha: float) -> float:
        mu = _mean_with_unseen(alpha, mean)
        seen = -math.expm1(-alpha * math.log1p(mu / alpha))
        variance = (mu + mu**2 * (1 + 1 / alpha)) / seen - mean**2
        return tally.sum(log_size(tally.values, alpha, mu)) - len(sizes) * math.log(seen) + math.log(variance) / 2

    def topped_up(alpha: float) -> float:
        chances = log_size(tally.values, alpha, mean)
        chances[0] = logsumexp(log_size(np.arange(least + 1), alpha, mean))
        return tally.sum(chances) + math.log(mean + mean**2 / alpha) / 2

    def fit(alpha: float) -> float:
        return max(unseen(alpha), topped_up(alpha)) if sharing >= PILE and least < mean / 2 else unseen(alpha)

    return likeliest(fit, fit(1e12))


def log_size(n: Array, alpha: float, mean: float) -> Array:
    """log of the chance of n texts, which is negative binomial of shape `alpha`. Shape of `n`."""
    per_text = math.log1p(mean / alpha)
    return np.asarray(log_rising(n, alpha) + n * (math.log(mean) - per_text) - alpha * per_text - gammaln(n + 1))


def log_rising(n: Array, a: float) -> Array:
    """log of a (a + 1) ... (a + n - 1) / a^n for every n >= 0: 0 as a goes to infinity. Shape of `n`.

    Where a is large the difference of two log-gammas would lose its digits; Stirling's series keeps them.
    """
    if a < 1e4:
        return np.asarray(gammaln(a + n) - gammaln(a) - n * math.log(a))
    return np.asarray((a + n - 0.5) * np.log1p(n / a) - n + (1 / (a + n) - 1 / a) / 12)


@dataclass(frozen=True)
class Tally:
    """The distinct values of many numbers, and how often each occurs: all that a sum over owners depends on."""

    values: Array
    times: Array

    @classmethod
    def from_numbers(cls, numbers: Counts) -> "Tally":
        values, times = np.unique(numbers, return_counts=True)
        return cls(values.astype(np.float64), times.astype(np.float64))

    def sum(self, of_values: Array) -> float:
        return float(of_values @ self.times)


def _mean_with_unseen(alpha: float, mean: float) -> float:
    """The mean mu of all owners if that of the seen ones is `mean`: mu = mean * P(n > 0 | alpha, mu)."""

    def excess(log_mu: float) -> float:
        mu = math.exp(log_mu)
        return mu - mean * -math.expm1(-alpha * math.log1p(mu / alpha))

    if excess(math.log(mean)) <= 0:  # to the last digit nobody is unseen
        return mean
    return math.exp(brentq(excess, math.log(mean) - 700, math.log(mean), xtol=1e-12))


def likeliest(fit: LogLikelihood, without_skew: float) -> Estimate | None:
    """The alpha with the largest log-likelihood, and all that are within half the 95 % point of chi-squared of it.

    Where there are several tops the interval goes from the first to the last that is within.

    Args:
        without_skew: the limit of `fit` as alpha goes to infinity.
    """

    def at(log_alpha: float) -> float:
        return fit(math.exp(log_alpha))

    steps = np.linspace(math.log(LEAST), math.log(MOST), STEPS)
    values = np.array([at(step) for step in steps])
    if max(*values, without_skew) - min(*values, without_skew) < 1e-9:
        return None
    best = int(np.argmax(values))
    around = steps[max(best - 1, 0)], steps[min(best + 1, STEPS - 1)]
    optimum = minimize_scalar(lambda x: -at(x), bounds=around, method="bounded", options={"xatol": 1e-6})
    top, log_alpha = max((values[best], float(steps[best])), (-float(optimum.fun), float(optimum.x)))
    if without_skew >= top:
        top, log_alpha = without_skew, math.log(MOST)
    cut = top - float(chdtri(1, 0.05)) / 2
    within = np.append(steps[values >= cut], log_alpha)

    def end(outside: float, inside: float) -> float:
        return math.exp(brentq(lambda x: at(x) - cut, outside, inside))

    low = 0.0 if values[0] >= cut else end(steps[steps < within.min()].max(), within.min())
    open_ended = without_skew >= cut or values[-1] >= cut
    high = math.inf if open_ended else end(steps[steps > within.max()].min(), within.max())
    alpha = math.inf if top == without_skew else 0.0 if best == 0 and values[0] >= top else math.exp(log_alpha)
    return Estimate(alpha, low, high)
