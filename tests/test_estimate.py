"""From owners back to alpha: slow oracles, limits, and whether intervals cover the alpha that was drawn with."""

import math

import numpy as np
import pytest
from scipy.special import gammaln

from cllora.partition import Estimate, classes_of, make_partition, mix_alpha, partitioners, pool_of, size_alpha
from cllora.partition.dealing import dirichlet
from cllora.partition.estimate import log_rising
from cllora.seeds import rng
from cllora.spec import PartitionSpec

ALPHAS = (0.1, 0.5, 1.0, 5.0, 100.0)
DRAWS = 100
LEAST_COVER = 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS)


def drawn_counts(alpha, name, clients=60, classes=5, texts=400):
    draw = rng(0, "estimate", name, str(alpha))
    mixes = (
        np.full((clients, classes), 1 / classes)
        if alpha == "iid"
        else dirichlet(np.full(classes, alpha), clients, draw)
    )
    return draw.multinomial(texts, mixes)


def covered(estimates, alpha):
    return np.mean([found.low <= alpha <= found.high for found in estimates])


@pytest.mark.parametrize("a", [1e-4, 0.3, 20.0, 9.9e3, 1.1e4, 1e9])
def test_log_rising_is_the_sum_of_its_factors(a):
    n = np.array([0, 1, 2, 50, 3000], np.float64)
    expected = [sum(math.log1p(j / a) for j in range(int(each))) for each in n]
    assert log_rising(n, a) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_mix_estimate_is_the_top_of_the_likelihood_written_out():
    counts = drawn_counts(0.7, "oracle", clients=9, classes=3, texts=40)
    prior, total = counts.sum(axis=0) / counts.sum(), counts.sum()

    def slow(alpha):
        a = alpha * 3 * prior
        value = 0.0
        for row in counts:
            value += gammaln(a.sum()) - gammaln(a.sum() + row.sum())
            value += sum(gammaln(n + each) - gammaln(each) for n, each in zip(row, a, strict=True))
        information = sum(row.sum() / (1 + (row.sum() - 1) / (1 + 3 * alpha)) for row in counts)
        return value - math.log(information / total)

    found = mix_alpha(counts)
    grid = np.geomspace(found.alpha / 1.2, found.alpha * 1.2, 401)
    assert grid[np.argmax([slow(alpha) for alpha in grid])] == pytest.approx(found.alpha, rel=2e-3)
    for end in (found.low, found.high):
        assert slow(found.alpha) - slow(end) == pytest.approx(3.8415 / 2, abs=1e-3)


def test_the_size_estimate_is_that_of_the_symmetric_draw_where_nobody_is_unseen():
    draw = rng(0, "sizes oracle")
    sizes = draw.multinomial(20_000, dirichlet(np.full(15, 4.0), 1, draw)[0])

    def slow(alpha):
        return gammaln(15 * alpha) - gammaln(15 * alpha + sizes.sum()) + (gammaln(sizes + alpha) - gammaln(alpha)).sum()

    found = size_alpha(sizes)
    grid = np.geomspace(0.2, 60, 4000)
    values = np.array([slow(alpha) for alpha in grid])
    inside = grid[values > values.max() - 3.8415 / 2]
    assert (found.alpha, found.low, found.high) == pytest.approx(
        (grid[values.argmax()], inside[0], inside[-1]), rel=0.01
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_intervals_of_mixes_cover_at_the_nominal_rate(alpha):
    estimates = [mix_alpha(drawn_counts(alpha, f"cover {i}")) for i in range(DRAWS)]
    assert covered(estimates, alpha) >= LEAST_COVER
    assert np.median([found.alpha for found in estimates]) == pytest.approx(alpha, rel=0.1)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_intervals_of_sizes_cover_at_the_nominal_rate(alpha):
    estimates = []
    for i in range(DRAWS):
        draw = rng(i, "cover sizes", str(alpha))
        estimates.append(size_alpha(draw.multinomial(40 * 2000, dirichlet(np.full(40, alpha), 1, draw)[0])))
    assert covered(estimates, alpha) >= LEAST_COVER
    assert np.median([found.alpha for found in estimates]) == pytest.approx(alpha, rel=0.15)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_quantity_scheme_is_recovered(alpha):
    spec = PartitionSpec(num_clients=40, classes=1, min_samples=1)
    size = 40 * 2000
    one = np.ones(size, np.int64)
    pool = pool_of(spec, ids=np.arange(size), values=np.ones(size), lengths=one, context=8)
    scheme = partitioners.bind("quantity", {"alpha": alpha})
    estimates = [size_alpha(scheme(pool, rng(seed, "quantity")).sizes()) for seed in range(20)]
    assert covered(estimates, alpha) >= 0.8  # 20 of 0.95: less than 16 has a chance of 1 in 400


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 5.0, 100.0])
def test_overlapping_client_mixes_are_recovered(alpha):
    estimates = [client_mix_alpha(alpha, seed, overlap=True) for seed in range(20)]
    assert covered(estimates, alpha) >= 0.8


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_disjoint_client_mixes_are_a_little_more_even_than_drawn(alpha):
    estimates = [client_mix_alpha(alpha, seed) for seed in range(20)]
    middle = math.exp(np.mean([math.log(found.alpha) for found in estimates]))
    assert alpha < middle < 1.25 * alpha


def client_mix_alpha(alpha, seed, overlap=False):
    """The estimate for 20 clients of 180 samples each, dealt by `client_mix` from distinct values."""
    spec = PartitionSpec(num_clients=20, classes=5, min_samples=1)
    values = rng(0, "values").permutation(3600).astype(float)
    pool = pool_of(spec, ids=np.arange(3600), values=values, lengths=np.ones(3600, np.int64), context=8)
    deal = partitioners.bind("client_mix", {"alpha": alpha, "overlap": overlap})(pool, rng(seed, "mixes"))
    counts = [np.bincount(classes_of(values[part], pool.cuts), minlength=5) for part in parts(deal)]
    return mix_alpha(np.array(counts))


def parts(deal):
    return np.split(deal.positions, deal.offsets[1:-1])


def test_chance_alone_is_told_from_skew():
    mixes = [mix_alpha(drawn_counts("iid", f"chance {i}")) for i in range(DRAWS)]
    sizes = [size_alpha(rng(i, "chance").multinomial(4000, np.full(20, 0.05))) for i in range(DRAWS)]
    for estimates in (mixes, sizes):
        assert np.mean([math.isinf(found.high) for found in estimates]) >= LEAST_COVER
        assert np.mean([math.isinf(found.alpha) for found in estimates]) > 0.4
        assert min(found.low for found in estimates) > 5


def test_owners_without_a_text_are_not_missed():
    draw = rng(0, "unseen")
    estimates = [size_alpha(draw.multinomial(600, dirichlet(np.full(200, 0.3), 1, draw)[0])) for _ in range(60)]
    assert np.median([found.alpha for found in estimates]) == pytest.approx(0.3, rel=0.15)
    assert covered(estimates, 0.3) >= 0.85


@pytest.mark.parametrize("least", [1, 10, 40])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_owners_that_were_topped_up_are_not_taken_at_their_size(alpha, least):
    one = np.ones(3600, np.int64)
    spec = PartitionSpec(scheme="quantity", num_clients=20, classes=1, min_samples=least, local_test=0, alpha=alpha)
    pool = pool_of(spec, ids=np.arange(3600), values=np.ones(3600), lengths=one, context=8)
    deals = [make_partition(spec, pool, np.empty(0, np.int64), seed) for seed in range(20)]
    estimates = [size_alpha(np.diff(deal.train_offsets)) for deal in deals]
    assert np.median([found.alpha for found in estimates]) == pytest.approx(alpha, rel=0.25)
    assert covered(estimates, alpha) >= 0.8


def test_a_shared_smallest_size_near_the_mean_is_no_minimum():
    found = size_alpha(np.array([180] * 17 + [181] * 3))
    assert found.alpha == math.inf
    assert found.low > 50


def test_two_likely_readings_make_one_interval():
    """Few owners, three of them with a single text: alpha is near 0 if others are unseen, larger if these are all."""
    found = size_alpha(np.array([1, 1, 1, 4, 30, 90, 260, 700]))
    assert found.low < found.alpha < found.high
    assert found.high > 0.3


def test_classes_of_unequal_size_share_one_alpha():
    draw = rng(0, "unequal classes")
    prior = np.array([0.6, 0.3, 0.1])
    estimates = [mix_alpha(draw.multinomial(300, dirichlet(0.5 * 3 * prior, 80, draw))) for _ in range(60)]
    assert np.median([found.alpha for found in estimates]) == pytest.approx(0.5, rel=0.1)


def test_limits():
    assert mix_alpha(np.array([[9, 0], [0, 9], [9, 0]])).alpha == 0.0
    assert mix_alpha(np.full((6, 4), 10)).alpha == math.inf
    assert size_alpha(np.full(8, 50)).alpha == math.inf
    assert size_alpha(np.full(8, 50)).low > 10


@pytest.mark.parametrize(
    "found",
    [
        mix_alpha(np.array([[5], [9]])),
        mix_alpha(np.array([[5, 0], [9, 0]])),
        mix_alpha(np.array([[1, 0], [0, 1], [0, 1]])),
        size_alpha(np.array([7])),
        size_alpha(np.array([1, 1, 1])),
    ],
)
def test_nothing_to_tell(found):
    assert found is None


def test_order_does_not_matter_and_intervals_hold_their_estimate():
    counts = drawn_counts(2.0, "order", clients=12)
    found = mix_alpha(counts)
    assert mix_alpha(counts[::-1, ::-1]).alpha == pytest.approx(found.alpha, rel=1e-6)
    assert found.low < found.alpha < found.high
    few = mix_alpha(counts[:3])
    assert few.high / few.low > found.high / found.low


def test_a_hundred_thousand_owners():
    draw = rng(0, "many")
    counts = draw.multinomial(draw.integers(1, 60, 100_000), dirichlet(np.full(5, 0.5), 100_000, draw))
    assert mix_alpha(counts) == Estimate(*(pytest.approx(x, rel=0.03) for x in (0.5, 0.5, 0.5)))
    sizes = draw.multinomial(2_000_000, dirichlet(np.full(100_000, 0.5), 1, draw)[0])
    assert size_alpha(sizes).alpha == pytest.approx(0.5, rel=0.03)
