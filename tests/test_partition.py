"""Laws that every partitioner keeps, and what `make_partition` adds to a scheme."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cllora.errors import UsageError
from cllora.partition import Pool, make_partition, partitioners, pool_of
from cllora.partition.deal import Deal, grouped
from cllora.partition.min_samples import enforce_min_samples, given_by_largest
from cllora.seeds import rng
from cllora.spec import PartitionSpec
from cllora.types import Heterogeneity, from_plain, to_plain

ALPHAS = (1e-3, 0.1, 1.0, 100.0, "iid")
VARIANTS = [
    *({"scheme": scheme, "alpha": alpha} for scheme in ("client_mix", "class_split", "quantity") for alpha in ALPHAS),
    *({"scheme": "client_mix", "alpha": alpha, "budget": "tokens"} for alpha in ALPHAS),
    *({"scheme": "client_mix", "alpha": alpha, "overlap": True} for alpha in ALPHAS),
    {"scheme": "natural", "column": "author"},
    {"scheme": "iid"},
]
NO_IDS = np.empty(0, np.int64)


def name_of(variant: dict) -> str:
    return ",".join(str(value) for value in variant.values())


def every_variant(variants=VARIANTS):
    return pytest.mark.parametrize("variant", variants, ids=name_of)


def some_pool(spec: PartitionSpec, n: int = 400, *, values=None, context: int = 128) -> Pool:
    """Ids 1000 to 999 + 2n in steps of two, log-normal lengths, and authors of whom each owns the same number."""
    draw = rng(0, "lengths")
    lengths = np.exp(draw.normal(4.5, 1, n)).astype(np.int64) + 1
    ids = 1000 + 2 * np.arange(n)
    author = [None] * (1000 + 2 * n)
    author[1000::2] = [f"author {i % spec.num_clients}" for i in range(n)]
    values = lengths.astype(np.float64) if values is None else values
    return pool_of(spec, ids=ids, values=values, lengths=lengths, context=context, columns={"author": author})


def spec_of(variant: dict, **fields) -> PartitionSpec:
    return PartitionSpec.model_validate({**variant, **fields})


def test_the_laws_cover_every_partitioner():
    assert {variant["scheme"] for variant in VARIANTS} == set(partitioners.names())


@every_variant()
def test_every_client_has_the_minimum_and_nothing_gets_lost(variant):
    spec = spec_of(variant, num_clients=20, min_samples=10)
    pool = some_pool(spec, 210)
    partition = make_partition(spec, pool, np.arange(3), seed=1)
    measured = partition.heterogeneity
    owned = [np.concatenate([partition.train(k), partition.test(k)]) for k in range(20)]
    assert partition.num_clients == 20
    assert min(len(ids) for ids in owned) >= 10
    for k, ids in enumerate(owned):
        assert len(set(ids.tolist())) == len(ids)
        assert len(partition.train(k)) > 0
        assert len(partition.test(k)) > 0
        assert (np.diff(partition.train(k)) > 0).all()
        assert (np.diff(partition.test(k)) > 0).all()
    counts = np.bincount(np.concatenate(owned), minlength=2000)[pool.ids]
    assert set(np.concatenate(owned).tolist()) <= set(pool.ids.tolist())
    assert measured.used == (counts > 0).sum()
    assert measured.unused == (counts == 0).sum()
    assert measured.repeated == (counts > 1).sum()
    if not variant.get("overlap"):
        assert measured.unused == measured.repeated == 0
    assert list(measured.clients.samples) == [len(ids) for ids in owned]
    written = json.dumps(to_plain(measured), allow_nan=False)
    assert from_plain(Heterogeneity, json.loads(written), "here") == measured


@every_variant()
def test_equal_seeds_give_the_equal_deal(variant):
    spec = spec_of(variant)
    pool = some_pool(spec)
    first, second, other = (make_partition(spec, pool, NO_IDS, seed) for seed in (7, 7, 8))
    for field in ("train_ids", "train_offsets", "test_ids", "test_offsets"):
        assert (getattr(first, field) == getattr(second, field)).all()
    assert first.heterogeneity == second.heterogeneity
    assert first.train_ids.tolist() != other.train_ids.tolist()


@every_variant()
def test_a_constant_feature_is_one_class_and_is_dealt_all_the_same(variant):
    spec = spec_of(variant)
    partition = make_partition(spec, some_pool(spec, values=np.full(400, 3.0)), NO_IDS, 0)
    measured = partition.heterogeneity
    assert measured.classes.pooled_shares == (1.0,)
    assert measured.variance_between.values == measured.js_mean == 0.0
    assert "the feature has too few distinct values for 5 classes: there is 1" in measured.warnings


@every_variant([v for v in VARIANTS if v["scheme"] != "natural"])
def test_too_few_samples_are_refused_with_what_to_set(variant):
    spec = spec_of(variant, num_clients=50, min_samples=1)
    with pytest.raises(
        UsageError, match=r"40 samples cannot give 50 clients .* set partition.num_clients to 40 or less$"
    ):
        make_partition(spec, some_pool(spec, 40), NO_IDS, 0)
    spec = spec_of(variant, num_clients=20, min_samples=10)
    line = "set partition.num_clients to 10 or less or partition.min_samples to 5 or less$"
    with pytest.raises(UsageError, match=line):
        make_partition(spec, some_pool(spec, 100), NO_IDS, 0)


@settings(max_examples=60)
@given(
    variant=st.sampled_from([v for v in VARIANTS if v["scheme"] != "natural"]),
    alpha=st.one_of(st.just("iid"), st.floats(1e-300, 1e300)),
    values=st.lists(st.integers(-5, 60), min_size=1, max_size=80),
    clients=st.integers(1, 9),
    classes=st.integers(1, 7),
    seed=st.integers(0, 3),
)
def test_any_feature_and_strength_can_be_dealt(variant, alpha, values, clients, classes, seed):
    clients = min(clients, len(values))
    options = {**variant, "alpha": alpha} if "alpha" in variant else variant
    spec = spec_of(options, num_clients=clients, min_samples=1 + seed % max(1, len(values) // clients), classes=classes)
    lengths = np.abs(np.array(values)) + 1
    pool = pool_of(spec, ids=np.arange(len(values)), values=np.array(values, float), lengths=lengths, context=40)
    partition = make_partition(spec, pool, NO_IDS, seed)
    measured = partition.heterogeneity
    sizes = np.array(measured.clients.samples)
    assert sizes.min() >= spec.min_samples
    if not variant.get("overlap"):
        everything = np.sort(np.concatenate([partition.train_ids, partition.test_ids]))
        assert everything.tolist() == list(range(len(values)))
    if variant.get("budget") == "tokens" and measured.moved == 0:
        assert measured.tokens.max - measured.tokens.min <= pool.tokens.max()
    elif variant["scheme"] in ("client_mix", "iid") and measured.moved == 0:
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("share", "sizes", "tests"),
    [(0.1, (1, 2, 4, 10, 26), (0, 1, 1, 1, 3)), (0.99, (1, 2, 4, 10, 26), (0, 1, 3, 9, 25)), (0.0, (3, 4), (0, 0))],
)
def test_the_local_test_has_one_sample_at_least_and_never_all(share, sizes, tests):
    offsets = np.cumsum([0, *sizes])
    spec = PartitionSpec(scheme="natural", num_clients=len(sizes), min_samples=1, local_test=share, column="who")
    who = np.repeat([f"c{9 - k}" for k in range(len(sizes))], sizes).tolist()
    n = int(offsets[-1])
    pool = pool_of(spec, ids=np.arange(n), values=np.ones(n), lengths=np.ones(n, int), context=8, columns={"who": who})
    partition = make_partition(spec, pool, NO_IDS, 0)
    by_size = sorted(range(len(sizes)), key=lambda k: -sizes[k])
    assert [len(partition.test(k)) for k in range(len(sizes))] == [tests[k] for k in by_size]
    assert [len(partition.train(k)) for k in range(len(sizes))] == [sizes[k] - tests[k] for k in by_size]
    assert partition.heterogeneity.untested_clients == (1 if share > 0 and 1 in sizes else 0)


def test_the_global_test_must_not_be_dealt():
    spec = PartitionSpec()
    with pytest.raises(ValueError, match="share samples"):
        make_partition(spec, some_pool(spec), np.array([1002]), 0)
    partition = make_partition(spec, some_pool(spec), np.array([5, 1003, 1]), 0)
    assert partition.global_test.tolist() == [1, 5, 1003]


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "abc", True, None])
def test_alpha_is_a_positive_number_or_iid(alpha):
    with pytest.raises(UsageError, match=r"^partitioner 'client_mix': alpha: must be a positive number or iid"):
        partitioners.bind("client_mix", {"alpha": alpha})


def test_unknown_schemes_and_options_are_guessed():
    spec = PartitionSpec.model_validate({"scheme": "clientmix"})
    with pytest.raises(UsageError, match="unknown partitioner 'clientmix'; did you mean 'client_mix'"):
        make_partition(spec, some_pool(PartitionSpec()), NO_IDS, 0)
    spec = PartitionSpec.model_validate({"scheme": "quantity", "alfa": 1})
    with pytest.raises(UsageError, match="has no option 'alfa'; did you mean 'alpha'"):
        make_partition(spec, some_pool(PartitionSpec()), NO_IDS, 0)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([[0, 1]], "dealt to 1 clients, not to the 2"),
        ([[0, 1], [2, 2]], "twice to the same client"),
        ([[0, 1], [2, 99]], "not in the pool"),
        ([[0, 1], []], "cannot top them up"),
    ],
)
def test_a_wrong_scheme_of_the_user_is_refused(parts, line):
    partitioners.register("mine")(lambda pool, rng: [np.array(p, np.int64) for p in parts])
    spec = PartitionSpec(scheme="mine", num_clients=2, min_samples=2)
    with pytest.raises(UsageError, match=line):
        make_partition(spec, some_pool(spec, 10), NO_IDS, 0)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12), least=st.integers(0, 10))
def test_the_repair_takes_from_whoever_is_then_largest(sizes, least):
    least = min(least, sum(sizes) // len(sizes))
    by_hand = np.array(sizes)
    while by_hand.min() < least:
        by_hand[by_hand.argmax()] -= 1
        by_hand[by_hand.argmin()] += 1
    deal = Deal.of_owners(rng(0, "x").permutation(np.repeat(np.arange(len(sizes)), sizes)), len(sizes))
    repaired, moved, topped_up = enforce_min_samples(deal, least, rng(0, "y"))
    needs = np.maximum(least - np.array(sizes), 0)
    assert repaired.sizes().tolist() == by_hand.tolist()
    assert (moved, topped_up) == (needs.sum(), (needs > 0).sum())
    assert sorted(repaired.positions.tolist()) == list(range(sum(sizes)))
    assert given_by_largest(np.array(sizes), 0).sum() == 0


def test_the_repair_moves_each_sample_with_equal_chance():
    owners = np.array([0] * 6 + [1])
    gone = np.zeros(7)
    for seed in range(600):
        repaired, _, _ = enforce_min_samples(Deal.of_owners(owners, 2), 2, rng(seed))
        gone[repaired.positions[repaired.offsets[1] :]] += 1
    assert gone[6] == 600
    assert gone[:6].sum() == 600
    assert np.abs(gone[:6] - 100).max() < 40  # four standard deviations


def test_grouping_is_a_stable_sort():
    keys = rng(0, "keys").integers(0, 5, 50)
    order, offsets = grouped(keys, 7)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert offsets.tolist() == [0, *np.cumsum(np.bincount(keys, minlength=7)).tolist()]
