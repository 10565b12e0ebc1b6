"""Two features, or a feature and the quantity, skewed at once: each margin comes out as if it were alone."""

import numpy as np
import pytest

from cllora.errors import UsageError
from cllora.partition import Axis, Deal, Pool, make_partition, partitioners, pool_of
from cllora.partition.dealing import deal_to_sizes, dirichlet
from cllora.partition.heterogeneity import cramers_v, effective_number, heterogeneity
from cllora.seeds import rng
from cllora.spec import PartitionSpec
from cllora.types import Doses

SAMPLES, CLIENTS = 3592, 20
NO_IDS = np.empty(0, np.int64)
SPEC = PartitionSpec(num_clients=CLIENTS)
LENGTHS = np.exp(rng(0, "lengths").normal(5, 1, SAMPLES)).astype(np.int64) + 1
CORRUPTED = rng(0, "spoiled").random(SAMPLES) < 0.3


def pool_with(second: Axis | None = None, corrupted: np.ndarray | None = None) -> Pool:
    values = LENGTHS + np.arange(SAMPLES) / SAMPLES  # all distinct
    return pool_of(
        SPEC, ids=np.arange(SAMPLES), values=values, lengths=LENGTHS, context=128, second=second, corrupted=corrupted
    )


QUALITY = pool_with(Axis.from_values(CORRUPTED.astype(float), 2), CORRUPTED)
MARK = pool_with(Axis.from_values(rng(0, "mark").normal(size=SAMPLES), 5))
ALONE = pool_with()


def deal_of(pool: Pool, seed: int = 0, **options) -> Deal:
    return partitioners.bind("client_mix", options)(pool, rng(seed, "partition"))


def shares(pool: Pool, deal: Deal) -> np.ndarray:
    """Class shares (K, C)."""
    cells = deal.clients() * pool.num_classes + pool.classes[deal.positions]
    counts = np.bincount(cells, minlength=deal.num_clients * pool.num_classes).reshape(deal.num_clients, -1)
    return counts / deal.sizes()[:, None]


def largest(pool: Pool, deals: list[Deal]) -> float:
    return float(np.mean([shares(pool, deal).max(axis=1).mean() for deal in deals]))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("and_alpha", [0.1, 1.0, 100.0])
def test_two_features_have_the_margins_that_they_have_alone(alpha, and_alpha):
    deals = [deal_of(MARK, seed, alpha=alpha, and_alpha=and_alpha) for seed in range(10)]
    alone = {0.1: 0.79, 1.0: 0.45, 100.0: 0.22}  # as `client_mix` with one feature of five classes
    # Twenty clients that want a single pair each cannot use up twenty-five pairs: the skew weakens.
    slack = 0.1 if alpha == and_alpha == 0.1 else 0.05
    assert largest(MARK, deals) == pytest.approx(alone[alpha], abs=slack)
    assert largest(MARK.by_second(), deals) == pytest.approx(alone[and_alpha], abs=slack)
    for deal in deals[:2]:
        assert set(deal.sizes().tolist()) == {179, 180}
        assert np.sort(deal.positions).tolist() == list(range(SAMPLES))


def test_the_two_mixes_of_a_client_are_drawn_apart():
    both = [deal_of(MARK, seed, alpha=1.0, and_alpha=1.0) for seed in range(30)]
    first = np.concatenate([shares(MARK, deal)[:, 0] for deal in both])
    second = np.concatenate([shares(MARK.by_second(), deal)[:, 0] for deal in both])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.12  # 600 clients: three standard deviations


@pytest.mark.parametrize(("one", "other"), [("alpha", "and_alpha"), ("and_alpha", "alpha")])
def test_a_feature_at_iid_is_left_to_chance(one, other):
    deals = [deal_of(MARK, seed, **{one: 0.1, other: "iid"}) for seed in range(10)]
    pools = {"alpha": MARK, "and_alpha": MARK.by_second()}
    assert largest(pools[one], deals) == pytest.approx(0.79, abs=0.03)
    assert largest(pools[other], deals) == pytest.approx(0.24, abs=0.02)


def test_without_more_than_one_feature_the_deal_is_as_it_was():
    plain = deal_of(ALONE, alpha=0.5)
    assert deal_of(MARK, alpha=0.5).positions.tolist() == plain.positions.tolist()
    assert deal_of(ALONE, alpha=0.5, and_alpha="iid", quantity_alpha="iid").offsets.tolist() == plain.offsets.tolist()


# The variance of a client's dose as drawn: Beta(2 alpha s, 2 alpha (1 - s)) has s (1 - s) / (2 alpha + 1).
@pytest.mark.parametrize(("alpha", "lost"), [(0.1, 0.1), (1.0, 0.1), (100.0, 0.2)])
def test_the_dose_is_fixed_in_all_and_spread_as_drawn(alpha, lost):
    by_dose = QUALITY.by_second()
    share = CORRUPTED.mean()
    doses = []
    for seed in range(40):
        deal = deal_of(by_dose, seed, alpha=alpha)
        dose = shares(by_dose, deal)[:, 1]
        assert (dose * deal.sizes()).sum() == pytest.approx(CORRUPTED.sum())
        doses.append(dose)
    drawn = share * (1 - share) / (2 * alpha + 1)
    assert np.mean(doses) == pytest.approx(share, abs=0.001)
    assert drawn * (1 - lost) <= np.mean([dose.var() for dose in doses]) <= drawn * 1.1


def test_length_and_quality_at_once():
    deals = [deal_of(QUALITY, seed, alpha=0.1, and_alpha=0.1) for seed in range(10)]
    alone = [deal_of(QUALITY.by_second(), seed, alpha=0.1) for seed in range(10)]
    assert largest(QUALITY, deals) == pytest.approx(0.79, abs=0.05)
    assert largest(QUALITY.by_second(), deals) == pytest.approx(largest(QUALITY.by_second(), alone), abs=0.06)


@pytest.mark.parametrize("budget", ["samples", "tokens"])
@pytest.mark.parametrize(("quantity_alpha", "effective"), [(0.1, 3.2), (1.0, 10.9), (100.0, 19.8)])
def test_length_and_quantity_at_once(quantity_alpha, effective, budget):
    """Effective clients as one Dirichlet draw has them; the mixes as `client_mix` has them, of clients with texts."""
    options = {"alpha": 1.0, "quantity_alpha": quantity_alpha, "budget": budget}
    deals = [deal_of(ALONE, seed, **options) for seed in range(30)]
    amounts = [
        deal.sizes() if budget == "samples" else np.bincount(deal.clients(), ALONE.tokens[deal.positions], CLIENTS)
        for deal in deals
    ]
    assert np.mean([effective_number(amount) for amount in amounts]) == pytest.approx(effective, rel=0.12)
    for deal in deals[:3]:
        assert np.sort(deal.positions).tolist() == list(range(SAMPLES))
    if quantity_alpha >= 1:
        large = [shares(ALONE, deal)[deal.sizes() >= 30].max(axis=1).mean() for deal in deals]
        assert np.mean(large) == pytest.approx(0.45, abs=0.05)


def test_sizes_are_met_within_a_sample():
    goals = dirichlet(np.full(CLIENTS, 0.5), 1, rng(0, "sizes"))[0]
    mix = dirichlet(np.full(5, 0.1), CLIENTS, rng(0, "mix"))
    for weights in (np.ones(SAMPLES, np.int64), ALONE.tokens):
        owners = deal_to_sizes(ALONE.classes, mix, weights, rng(0, "deal"), goals)
        off = np.bincount(owners, weights, CLIENTS) - goals * weights.sum()
        assert off.max() - off.min() <= weights.max() + 1


def test_overlapping_clients_may_differ_in_size():
    deal = deal_of(ALONE, alpha=0.1, quantity_alpha=0.1, overlap=True)
    assert deal.sizes().min() == ALONE.min_samples
    assert deal.sizes().max() > 500
    for part in np.split(deal.positions, deal.offsets[1:-1]):
        assert len(set(part.tolist())) == len(part)


def test_a_second_alpha_needs_a_second_feature():
    with pytest.raises(UsageError, match=r"partition\.and_alpha needs a second feature; name it as partition\.and_by"):
        deal_of(ALONE, and_alpha=0.1)
    with pytest.raises(UsageError, match="and_alpha: must be a positive number or iid"):
        deal_of(MARK, and_alpha=0)
    with pytest.raises(ValueError, match="and_by must be another feature than by"):
        PartitionSpec.model_validate({"by": "length", "and_by": "length"})


def test_what_goes_together_is_measured():
    one = rng(0, "v").integers(0, 5, 2000)
    assert cramers_v(one, one) == pytest.approx(1.0, abs=0.01)
    assert cramers_v(one, (one + rng(1, "v").integers(0, 5, 2000)) % 5) < 0.05
    assert cramers_v(one, np.zeros(2000, int)) == 0.0
    half = np.where(rng(2, "v").random(2000) < 0.5, one, rng(3, "v").integers(0, 5, 2000))
    assert cramers_v(one, half) == pytest.approx(0.5, abs=0.05)


def test_the_realised_heterogeneity_has_the_doses_and_the_second_feature():
    spec = PartitionSpec(num_clients=2, classes=2, min_samples=1)
    pool = pool_of(
        spec,
        ids=np.arange(4),
        values=np.arange(4.0),
        lengths=np.array([2, 4, 10, 20]),
        context=8,
        second=Axis.from_values(np.array([1.0, 0, 1, 0]), 2),
        corrupted=np.array([True, False, True, True]),
    )
    found = heterogeneity(pool, Deal.of_lists([np.array([0, 1]), np.array([2, 3])]))
    assert found.corrupted == Doses(share=0.75, doses=(0.5, 1.0), variance_between=pytest.approx(1 / 3))
    assert found.and_by.class_shares == ((0.5, 0.5), (0.5, 0.5))
    assert found.and_by.js_mean == found.and_by.variance_between == found.and_by.association == 0
    assert [one.samples for one in found.and_by.described] == [2, 2]
    assert found.js_mean > 0
    partition = make_partition(spec, pool, NO_IDS, 0)
    assert partition.heterogeneity.corrupted.share == 0.75
    assert heterogeneity(ALONE, deal_of(ALONE)).and_by is None
