"""Estimates of alpha from the order of owners' texts, where the cuts between the classes are not known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.special import gammaln

from cllora.partition.deal import grouped
from cllora.partition.estimate import Estimate, Tally, likeliest, log_rising
from cllora.types import Array

Ints = NDArray[np.int64]

EVENLY, NEARBY = 21, 8
"""Candidates for cuts: so many over all texts, and so many on either side of each of the best cuts."""
PASSES = 12
TRIED = np.geomspace(0.02, 200, 13)
"""The alphas at which the best cuts are looked for."""


def can_be_cut(values: Array, classes: int) -> bool:
    """Whether values (n,) differ enough for classes of about n / classes texts to be cut from them.

    They do if no value is that of more than half such a class; otherwise values are taken to be classes themselves.
    """
    return bool(np.unique(values, return_counts=True)[1].max() * 2 * classes <= len(values))


def rank_alpha(owner: Ints, values: Array, classes: int) -> Estimate | None:
    """The alpha of `client_mix` that is most likely to have put owners' texts in this order of a feature.

    Owner k's mix of C classes is drawn from Dir(alpha, ..., alpha), the class of each of its n_k texts from the mix.
    Classes are ranges of the feature, cut nobody knows where, and within a class the order of texts is chance. If the
    lowest N_1 of all texts are of the first class, the next N_2 of the second and so on, with n_kc of owner k's in
    class c, then the texts' classes have the chance prod_k prod_c alpha^(n_kc) / (C alpha)^(n_k), x^(n) being the
    rising factorial x (x + 1) ... (x + n - 1), and given these the order has the chance 1 / prod_c N_c!. So the chance
    of the order is, exactly,

        L(alpha) = sum over all cuts of  prod_c [ prod_k alpha^(n_kc) / N_c! ]  /  prod_k (C alpha)^(n_k)

    Nothing else is unknown: no density, as only the order counts (a marginal likelihood of ranks, Kalbfleisch and
    Prentice 1973), no share of a class, and no cut, so that nothing is fitted that would have to be made up for. A
    factor of the product belongs to one range of texts, so the sum over all cuts is taken class by class, as the
    forward sum of a hidden Markov model is. Texts of one value are in one class. Of many texts not every cut is a
    candidate: those near the likeliest cuts are, and a few over the rest, each for all that are nearest to it.

    Args:
        owner, values: of the texts, shape (n,).

    None if nothing can be told: no owner has two texts.
    """
    order = np.argsort(values, kind="stable")
    ordered, sizes = owner[order], Tally.from_numbers(np.bincount(owner))
    if sizes.values.max() < 2:
        return None
    possible = np.concatenate([[0], np.flatnonzero(np.diff(values[order])) + 1, [len(order)]])
    cuts = np.searchsorted(possible, len(order) * np.arange(1, classes) / classes)

    def fit(alpha: float) -> float:
        return ranges.log_sum(alpha, classes) - sizes.sum(log_rising(sizes.values, alpha * classes))

    for _ in range(PASSES):
        ranges = Ranges.between(possible, _candidates(cuts, len(possible)), ordered)
        before, cuts = cuts, ranges.best_cuts(max(TRIED, key=fit), classes)
        if (cuts == before).all():
            break
    return likeliest(fit, fit(1e12))


def _candidates(cuts: Ints, count: int) -> Ints:
    """Places among `count` possible cuts: evenly over all, and around `cuts` the closer together the nearer."""
    evenly = np.linspace(0, count - 1, EVENLY).round().astype(np.int64)
    away = np.geomspace(1, max(count / EVENLY, 2), NEARBY).round().astype(np.int64)
    nearby = cuts[:, None] + np.concatenate([-away, [0], away])
    return np.unique(np.concatenate([evenly, nearby.ravel().clip(0, count - 1)]))


@dataclass(frozen=True)
class Ranges:
    """The counts, for every range of texts between two of M candidate cuts, that the probability of a class needs.

    places: which of the possible cuts the candidates are, shape (M,), the first before all texts, the last after.
    stands_for: the log of how many possible cuts each stands for (M,).
    orders: the log of 1 / N! of the N texts from candidate i to j (M, M), -inf where j lies before i.
    earlier: in row i * (M - 1) + j and column r, the texts between candidates j and j + 1 whose owner has r texts
        between candidate i and them.
    """

    places: Ints
    stands_for: Array
    orders: Array
    earlier: csr_array

    @classmethod
    def between(cls, possible: Ints, places: Ints, owner: Ints) -> "Ranges":
        """Make the ranges of texts in order with their `owner` (n,); `possible` cuts have so many texts before them."""
        starts = possible[places]
        edges = np.concatenate([[-0.5], (places[1:] + places[:-1]) / 2, [len(possible) - 0.5]])
        texts = starts[None, :] - starts[:, None]
        orders = np.where(texts >= 0, -gammaln(np.maximum(texts, 0) + 1), -np.inf)
        return cls(places, np.log(np.diff(edges)), orders, _earlier(owner, starts))

    def chances(self, alpha: float) -> Array:
        """The log of prod_k alpha^(n_k) / alpha^n / N! of the texts from candidate i to j. Shape (M, M)."""
        m = len(self.places)
        cells = self.earlier @ np.log1p(np.arange(self.earlier.shape[1]) / alpha)
        return np.asarray(self.orders + np.cumsum(np.pad(cells.reshape(m, m - 1), ((0, 0), (1, 0))), axis=1))

    def log_sum(self, alpha: float, classes: int) -> float:
        """The log of the sum over all cuts into two classes or more."""
        chances = self.chances(alpha)
        upto = chances[0]
        for _ in range(classes - 2):
            upto = _log_sum((upto + self.stands_for)[:, None] + chances)
        return float(_log_sum(upto + self.stands_for + chances[:, -1]))

    def best_cuts(self, alpha: float, classes: int) -> Ints:
        """The cuts with the largest chance, as places among the possible ones. Shape (classes - 1,)."""
        chances = self.chances(alpha)
        upto, froms = chances[0], []
        for _ in range(classes - 1):
            options = upto[:, None] + chances
            froms.append(options.argmax(axis=0))
            upto = options.max(axis=0)
        best = [len(self.places) - 1]
        for came_from in reversed(froms):
            best.append(int(came_from[best[-1]]))
        return self.places[best[:0:-1]]


def _earlier(owner: Ints, starts: Ints) -> csr_array:
    """The field `earlier` of `Ranges`, of texts in order."""
    order, offsets = grouped(owner, int(owner.max()) + 1)
    number = np.empty(len(owner), np.int64)  # how many of its owner's texts come before
    number[order] = np.arange(len(owner)) - np.repeat(offsets[:-1], np.diff(offsets))
    cell = np.searchsorted(starts, np.arange(len(owner)), side="right") - 1
    shape = len(starts) - 1, int(number.max()) + 1
    rows = []
    for start in starts:
        left_out = np.bincount(owner[:start], minlength=len(offsets) - 1)
        held = number[start:] - left_out[owner[start:]]
        rows.append(csr_array((np.ones(len(held)), (cell[start:], held)), shape=shape))
    return vstack(rows, format="csr")


def _log_sum(logs: Array) -> Array:
    """The log of the sum over the first axis of what `logs` are logs of; in each sum one is finite."""
    top = logs.max(axis=0)
    return np.asarray(top + np.log(np.exp(logs - top).sum(axis=0)))
