"""The alpha at which clients are as unlike as owners, whatever made the owners."""

import math
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, betabinom, norm

from cllora.partition import rank_alpha, variation_alpha
from cllora.partition.dealing import dirichlet
from cllora.partition.variation import beta_deviation, expected_deviation
from cllora.seeds import rng

CLASSES = 5
EVEN = np.full(CLASSES, 1 / CLASSES)
FEDERATIONS = 24


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_deviation_that_is_expected_is_the_sum_over_all_counts(share: float) -> None:
    sizes, concentration, apart = np.array([1.0, 7.0, 60.0]), 2.1, []
    for n in sizes:
        counts = np.arange(n + 1)
        chances = betabinom.pmf(counts, n, concentration * share, concentration * (1 - share))
        apart.append((np.abs(counts / n - share) * chances).sum())
    assert expected_deviation(concentration, share, sizes) == pytest.approx(np.mean(apart))
    assert beta_deviation(concentration, share) == pytest.approx(
        beta.expect(lambda q: abs(q - share), args=(concentration * share, concentration * (1 - share))), rel=1e-6
    )
    assert expected_deviation(1e-6, share, sizes) == pytest.approx(2 * share * (1 - share), abs=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("texts", [40, 180])
def test_of_a_dirichlet_draw_it_is_its_alpha(alpha: float, texts: int) -> None:
    found = []
    for federation in range(FEDERATIONS):
        draw = rng(federation, "variation", str(alpha), texts)
        found.append(variation_alpha(draw.multinomial(texts, dirichlet(np.full(CLASSES, alpha), 25, draw))))
    assert np.median([each.alpha for each in found]) == pytest.approx(alpha, rel=0.15)
    assert np.mean([each.low <= alpha <= each.high for each in found]) >= 0.95 - 3 * math.sqrt(
        0.05 * 0.95 / FEDERATIONS
    )


@lru_cache
def unlike(spread: float) -> float:
    """The alpha whose mixes are as unlike, by total variation, as those of log-normal owners whose means spread so."""
    means = rng(0, "owners", str(spread)).normal(0, spread, (100_000, 1))
    cuts = norm.ppf(np.arange(1, CLASSES) / CLASSES) * math.hypot(1, spread)
    mixes = np.diff(np.pad(norm.cdf(cuts - means), ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)
    apart = np.abs(mixes - EVEN).mean()
    alphas = np.geomspace(0.01, 100, 2001)
    return float(np.interp(-apart, [-beta_deviation(CLASSES * alpha, 1 / CLASSES) for alpha in alphas], alphas))


def log_normal(
    spread: float, owners: int, texts: int, federation: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The owners of texts, and the texts' lengths."""
    draw = rng(federation, "log-normal owners", str(spread), owners)
    means = draw.normal(0, spread, (owners, 1))
    return np.repeat(np.arange(owners), texts), np.exp(means + draw.normal(0, 1, (owners, texts))).ravel()


def counts_of(owner: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    classes = np.searchsorted(np.quantile(values, np.arange(1, CLASSES) / CLASSES), values, side="right")
    return np.bincount(owner * CLASSES + classes, minlength=(owner.max() + 1) * CLASSES).reshape(-1, CLASSES)


@pytest.mark.parametrize(("owners", "texts"), [(20, 180), (100, 40)])
@pytest.mark.parametrize("spread", [0.3, 0.7, 1.5])
def test_of_log_normal_owners_it_makes_clients_as_unlike(spread: float, owners: int, texts: int) -> None:
    """No Dirichlet draw made them: the likeliest one, whose classes may be cut where they tell the owners apart, is of
    a quarter to two fifths less alpha, so that a study at that alpha is of more skew than the owners have."""
    found = [variation_alpha(counts_of(*log_normal(spread, owners, texts, each))) for each in range(FEDERATIONS)]
    assert np.median([each.alpha for each in found]) == pytest.approx(unlike(spread), rel=0.15)
    assert np.mean([each.low <= unlike(spread) <= each.high for each in found]) >= 0.8


def test_the_likeliest_draw_is_more_unlike_than_log_normal_owners() -> None:
    likeliest = [rank_alpha(*log_normal(1.5, 20, 180, each), CLASSES).alpha for each in range(5)]
    assert np.median(likeliest) < 0.75 * unlike(1.5)


def test_few_texts_alone_are_no_skew() -> None:
    """Owners of three texts each look unlike by chance; that is taken off."""
    draw = rng(0, "few texts")
    assert variation_alpha(draw.multinomial(3, EVEN, 400)).high == math.inf
    skewed = draw.multinomial(3, dirichlet(np.full(CLASSES, 0.5), 400, draw))
    assert variation_alpha(skewed).alpha == pytest.approx(0.5, rel=0.2)


def test_owners_that_share_nothing_and_those_of_whom_nothing_can_be_told() -> None:
    apart = variation_alpha(np.eye(3, dtype=int) * 50)
    assert (apart.alpha, apart.low) == (0.0, 0.0)
    assert variation_alpha(np.array([[3, 4]])) is None
    assert variation_alpha(np.array([[3, 0], [5, 0]])) is None
    counts = np.array([[3, 0, 9], [5, 0, 2], [0, 0, 0]])
    assert variation_alpha(counts) == variation_alpha(counts[:2, [0, 2]])
