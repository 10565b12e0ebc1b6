"""What each partitioner skews, by how much, and what it keeps equal."""

import numpy as np
import pytest

from cllora.errors import UsageError
from cllora.partition import Deal, Pool, partitioners, pool_of
from cllora.partition.dealing import class_counts, dirichlet, fit_to_supply
from cllora.partition.heterogeneity import effective_number
from cllora.seeds import rng
from cllora.spec import PartitionSpec

SAMPLES = 3592  # the paper's training set, as are 20 clients and 5 classes


def pool_with(n: int = SAMPLES, clients: int = 20, columns=None) -> Pool:
    spec = PartitionSpec(num_clients=clients)
    lengths = np.exp(rng(0, "lengths").normal(5, 1, n)).astype(np.int64) + 1
    values = lengths + np.arange(n) / n  # all distinct
    return pool_of(spec, ids=np.arange(n), values=values, lengths=lengths, context=128, columns=columns)


POOL = pool_with()


def deal_of(scheme: str, seed: int = 0, pool: Pool = POOL, **options) -> Deal:
    return partitioners.bind(scheme, options)(pool, rng(seed, "partition"))


def class_shares(deal: Deal, pool: Pool = POOL) -> np.ndarray:
    counts = [np.bincount(pool.classes[part], minlength=5) for part in np.split(deal.positions, deal.offsets[1:-1])]
    return np.array(counts) / deal.sizes()[:, None]


# Strengths derived independently: mean largest class share of Dir(alpha) over five classes.
@pytest.mark.parametrize(("alpha", "drawn"), [(0.1, 0.81), (1.0, 0.46), (100.0, 0.22)])
def test_client_mix_is_as_strong_as_its_dirichlet(alpha, drawn):
    assert dirichlet(np.full(5, alpha), 5000, rng(0)).max(axis=1).mean() == pytest.approx(drawn, abs=0.01)
    shared = [class_shares(deal_of("client_mix", s, alpha=alpha, overlap=True)).max(axis=1).mean() for s in range(20)]
    assert np.mean(shared) == pytest.approx(drawn, abs=0.04)
    disjoint = [class_shares(deal_of("client_mix", s, alpha=alpha)).max(axis=1).mean() for s in range(20)]
    assert np.mean(disjoint) == pytest.approx({0.1: 0.79, 1.0: 0.45, 100.0: 0.22}[alpha], abs=0.02)


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 100.0, "iid"])
def test_client_mix_deals_equal_samples_of_the_whole_pool(alpha):
    deal = deal_of("client_mix", alpha=alpha)
    assert set(deal.sizes().tolist()) == {179, 180}
    assert np.sort(deal.positions).tolist() == list(range(SAMPLES))
    pooled = class_shares(deal).T @ deal.sizes()
    assert pooled.round().astype(int).tolist() == POOL.class_counts().tolist()


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 100.0, "iid"])
def test_client_mix_deals_equal_tokens_within_one_sample(alpha):
    deal = deal_of("client_mix", alpha=alpha, budget="tokens")
    tokens = np.add.reduceat(POOL.tokens[deal.positions], deal.offsets[:-1])
    assert tokens.max() - tokens.min() <= POOL.tokens.max()
    assert np.sort(deal.positions).tolist() == list(range(SAMPLES))


def test_client_mix_favours_no_class():
    """Over many deals every class is a client's largest equally often, the last (which soaks up a rest) included."""
    largest = np.concatenate([class_shares(deal_of("client_mix", s, alpha=0.5)).argmax(axis=1) for s in range(60)])
    counts = np.bincount(largest, minlength=5)
    assert np.abs(counts / len(largest) - 0.2).max() < 0.03


def test_client_mix_keeps_what_each_client_drew():
    """With supply to spare for every draw the realised mix is the drawn one, within the rounding of a sample."""
    mix = dirichlet(np.full(5, 1.0), 20, rng(3))
    fitted = fit_to_supply(mix, 1000 * mix.sum(axis=0))
    assert np.allclose(fitted, 1000 * mix)


def test_fitting_keeps_odds_ratios_and_meets_both_sums():
    mix = np.array([[0.8, 0.2], [0.5, 0.5]])
    amounts = fit_to_supply(mix, np.array([10.0, 10.0]))
    # a / (10 - a) squared is the odds ratio 4 kept: a = 20 / 3.
    assert amounts == pytest.approx(np.array([[20 / 3, 10 / 3], [10 / 3, 20 / 3]]), abs=2e-3)


def test_fitting_ends_on_mixes_that_cannot_be_met():
    one_hot = np.eye(3)[[0, 0, 0, 1]]
    supply = np.array([4.0, 1.0, 7.0])
    amounts = fit_to_supply(one_hot, supply)
    assert amounts.sum(axis=1) == pytest.approx(np.full(4, 3.0), rel=1e-3)
    assert amounts.sum(axis=0) == pytest.approx(supply, rel=1e-3)
    assert amounts[:3, 0] == pytest.approx(np.full(3, 4 / 3), rel=1e-3)


def test_overlapping_clients_draw_without_repeating_a_sample():
    pool = pool_with(50, clients=2)
    deal = deal_of("client_mix", pool=pool, alpha=1e-3, overlap=True)  # 25 each, of classes of 10
    assert deal.sizes().tolist() == [25, 25]
    for part in np.split(deal.positions, deal.offsets[1:-1]):
        assert len(set(part.tolist())) == 25
        assert np.bincount(pool.classes[part]).max() == 10
    with pytest.raises(UsageError, match="overlapping clients have a budget of samples only"):
        deal_of("client_mix", overlap=True, budget="tokens")


def test_class_counts_never_exceed_the_supply():
    counts = class_counts(np.array([[1.0, 0, 0], [0.4, 0.3, 0.3]]), np.array([9, 9]), np.array([3, 4, 5]), rng(0))
    assert counts.sum(axis=1).tolist() == [9, 9]
    assert (counts <= [3, 4, 5]).all()
    assert counts[0, 0] == 3


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_dirichlet_has_the_mean_and_variance_of_theory(alpha):
    weights = alpha * np.array([1.0, 2.0, 5.0])
    draws, mean = dirichlet(weights, 40_000, rng(1)), np.array([1, 2, 5]) / 8
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.01)
    assert draws.var(axis=0) == pytest.approx(mean * (1 - mean) / (weights.sum() + 1), rel=0.04)


@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 1e-3, 1e300])
def test_dirichlet_has_its_limits(alpha):
    draws = dirichlet(np.full(4, alpha), 2000, rng(1))
    assert draws.sum(axis=1) == pytest.approx(np.ones(2000))
    largest = 1 / 4 if alpha > 1 else 1.0
    assert np.median(draws.max(axis=1)) == pytest.approx(largest, abs=1e-6)
    assert draws.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.05)


def test_class_split_spreads_each_class_by_its_own_draw():
    shares = []
    for seed in range(40):
        deal = deal_of("class_split", seed, alpha=0.5)
        cells = deal.clients() * 5 + POOL.classes[deal.positions]
        counts = np.bincount(cells, minlength=100).reshape(20, 5)
        assert counts.sum(axis=0).tolist() == POOL.class_counts().tolist()
        shares.append(counts / counts.sum(axis=0))
    # Var of a Dir(alpha) share over K clients: (1/K)(1 - 1/K) / (K alpha + 1).
    assert np.concatenate(shares).var() == pytest.approx(0.05 * 0.95 / (20 * 0.5 + 1), rel=0.15)
    assert np.std(deal_of("class_split", alpha=0.5).sizes()) > 30


# Derived independently: effective number of clients 1 / sum p^2 of one Dir(alpha) over 20 clients.
@pytest.mark.parametrize(("alpha", "effective"), [(0.1, 3.2), (1.0, 10.9), (100.0, 19.8)])
def test_quantity_is_as_strong_as_its_dirichlet(alpha, effective):
    deals = [deal_of("quantity", seed, alpha=alpha) for seed in range(200)]
    assert np.mean([effective_number(deal.sizes()) for deal in deals]) == pytest.approx(effective, rel=0.06)
    assert all(np.sort(deal.positions).tolist() == list(range(SAMPLES)) for deal in deals[:3])


def test_quantity_leaves_contents_to_chance():
    deal = deal_of("quantity", alpha=1.0)
    large = deal.sizes() > 150
    assert np.abs(class_shares(deal)[large] - 0.2).max() < 0.12


@pytest.mark.parametrize("scheme", ["class_split", "quantity", "client_mix", "iid"])
def test_iid_is_equal_sizes_of_anything(scheme):
    deal = deal_of(scheme, **({} if scheme == "iid" else {"alpha": "iid"}))
    assert set(deal.sizes().tolist()) == {179, 180}
    assert class_shares(deal).max(axis=1).mean() == pytest.approx(0.24, abs=0.02)


def test_natural_takes_the_largest_owners_ties_by_name():
    owners = ["b"] * 12 + ["a"] * 12 + ["c"] * 30 + [None] * 50 + ["d"] * 11 + ["e"] * 3
    pool = pool_with(len(owners), clients=3, columns={"owner": owners})
    deal = deal_of("natural", pool=pool, column="owner")
    assert deal.names == ("c", "a", "b")
    assert deal.sizes().tolist() == [30, 12, 12]
    assert deal.positions[deal.offsets[1] : deal.offsets[2]].tolist() == list(range(12, 24))


def test_natural_needs_a_column_and_owners_enough():
    pool = pool_with(40, clients=3, columns={"owner": ["a"] * 20 + ["b"] * 15 + ["c"] * 5})
    with pytest.raises(UsageError, match=r"no column 'ower'; did you mean 'owner'"):
        deal_of("natural", pool=pool, column="ower")
    with pytest.raises(
        UsageError, match=r"2 of the 3 owners in column 'owner' have at least 10 samples, fewer than the 3"
    ):
        deal_of("natural", pool=pool, column="owner")
    with pytest.raises(UsageError, match="partitioner 'natural': column: there is no value here; give one"):
        deal_of("natural", pool=pool)
