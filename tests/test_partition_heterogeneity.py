"""The measures against cases worked by hand, the classes, and what the warnings say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.errors import UsageError
from cllora.partition import Deal, classes_of, heterogeneity, make_partition, pool_of, quantile_classes
from cllora.partition.heterogeneity import effective_number, gini, jensen_shannon, total_variation, variance_between
from cllora.seeds import rng
from cllora.spec import PartitionSpec
from cllora.types import Spread, to_plain

NO_IDS = np.empty(0, np.int64)


def test_gini_and_effective_number_by_hand():
    assert gini(np.array([5, 5, 5])) == 0.0
    assert gini(np.array([0, 0, 0, 8])) == 0.75
    assert gini(np.array([3, 1])) == 0.25
    assert gini(np.zeros(3)) == 0.0
    assert effective_number(np.array([5, 5, 5])) == pytest.approx(3.0)
    assert effective_number(np.array([0, 0, 8])) == 1.0
    assert effective_number(np.array([3, 1])) == 1.6
    assert effective_number(np.zeros(3)) == 0.0


def test_divergences_by_hand():
    pooled = np.array([0.5, 0.5])
    mixes = np.array([[0.5, 0.5], [1.0, 0.0]])
    # m = (3/4, 1/4): JS = (log2(4/3) + log2(2/3)/2 + log2(2)/2) / 2 = 0.3113 bits
    expected = (np.log2(4 / 3) + (np.log2(2 / 3) + 1) / 2) / 2
    assert jensen_shannon(mixes, pooled) == pytest.approx([0.0, expected])
    assert jensen_shannon(np.array([[1.0, 0.0]]), np.array([0.0, 1.0])) == pytest.approx([1.0])
    assert total_variation(mixes, pooled).tolist() == [0.0, 0.5]


def test_variance_between_by_hand():
    values = np.array([0.0, 2.0, 4.0, 6.0])
    assert variance_between(values, np.array([0, 0, 1, 1])) == 0.8  # means 1 and 5: 16 of 20
    assert variance_between(values, np.array([0, 3, 5, 9])) == 1.0
    assert variance_between(np.ones(4), np.array([0, 0, 1, 1])) == 0.0


def test_chance_is_the_mean_share_of_random_deals():
    values, groups = rng(0, "v").normal(size=60), np.repeat(np.arange(6), 10)
    shares = [variance_between(rng(seed).permutation(values), groups) for seed in range(400)]
    assert np.mean(shares) == pytest.approx(5 / 59, rel=0.1)


def test_a_deal_is_described_by_hand():
    spec = PartitionSpec(num_clients=2, classes=2)
    lengths = np.array([2, 4, 10, 20, 6])
    pool = pool_of(spec, ids=np.arange(5), values=lengths * 1.0, lengths=lengths, context=8)
    assert pool.classes.tolist() == [0, 0, 1, 1, 1]
    found = heterogeneity(pool, Deal.of_lists([np.array([0, 1]), np.array([3, 1])]))
    assert (found.used, found.unused, found.repeated) == (3, 2, 1)
    assert found.clients.samples == (2, 2)
    assert found.clients.tokens == (6, 12)
    assert found.clients.class_shares == ((1.0, 0.0), (0.5, 0.5))
    assert found.clients.tv == pytest.approx([0.6, 0.1])
    assert found.tv_mean == pytest.approx(0.35)
    assert found.largest_class_share_mean == 0.75
    assert found.samples == Spread(gini=0.0, effective_clients=2.0, min=2, median=2.0, max=2)
    assert found.tokens.gini == pytest.approx(1 / 6)
    assert found.variance_between.values == pytest.approx(81 / 211)  # means 3 and 12 about 7.5
    assert found.variance_between.chance == pytest.approx(1 / 3)
    assert found.classes.pooled_shares == (0.4, 0.6)
    assert to_plain(found.classes.described[1]) == {
        "from": 6.0,
        "below": None,
        "samples": 3,
        "min": 6.0,
        "median": 10.0,
        "max": 20.0,
        "share_cut": pytest.approx(2 / 3),
        "median_tokens": 8.0,
        "median_length": 10.0,
    }


def test_a_negative_feature_has_no_logarithm():
    spec = PartitionSpec(num_clients=1, classes=1)
    pool = pool_of(spec, ids=np.arange(2), values=np.array([-3.0, 1.0]), lengths=np.array([3, 4]), context=8)
    assert heterogeneity(pool, Deal.of_lists([np.arange(2)])).variance_between.log1p is None


def test_classes_by_hand():
    classes, cuts = quantile_classes(np.array([5.0, 1, 4, 2, 3, 6]), 3)
    assert classes.tolist() == [2, 0, 1, 0, 1, 2]
    assert cuts.tolist() == [3.0, 5.0]
    assert classes_of(np.array([-9, 2.9, 3.0, 99]), cuts).tolist() == [0, 0, 1, 2]
    # Nine zeros and a one: one cut is possible, wherever the quantiles lie.
    classes, cuts = quantile_classes(np.array([0.0] * 9 + [1.0]), 5)
    assert cuts.tolist() == [1.0]
    assert np.bincount(classes).tolist() == [9, 1]
    classes, cuts = quantile_classes(np.full(4, 7.0), 5)
    assert (classes.tolist(), cuts.tolist()) == ([0, 0, 0, 0], [])
    with pytest.raises(UsageError, match="not a finite number for 2 of 3 texts"):
        quantile_classes(np.array([1.0, np.nan, np.inf]), 2)


@given(values=st.lists(st.integers(0, 30), min_size=1, max_size=60), num_classes=st.integers(1, 8))
def test_classes_are_ordered_filled_and_keep_ties_together(values, num_classes):
    array = np.array(values, np.float64)
    classes, cuts = quantile_classes(array, num_classes)
    counts = np.bincount(classes)
    assert counts.min() > 0
    assert len(counts) == len(cuts) + 1 <= num_classes
    assert (classes_of(array, cuts) == classes).all()
    for a, b in zip(np.argsort(array)[:-1], np.argsort(array)[1:], strict=True):
        assert classes[a] <= classes[b] if array[a] < array[b] else classes[a] == classes[b]
    if len(set(values)) == len(values) >= num_classes:
        assert counts.max() - counts.min() <= 1
        assert len(counts) == num_classes


def partition_of(lengths, *, context=10_000, values=None, **fields):
    spec = PartitionSpec.model_validate({"num_clients": 20, **fields})
    values = lengths.astype(np.float64) if values is None else values
    pool = pool_of(spec, ids=np.arange(len(lengths)), values=values, lengths=lengths, context=context)
    return make_partition(spec, pool, NO_IDS, 0).heterogeneity.warnings


LENGTHS = np.arange(51, 1051)


def test_length_classes_that_the_window_makes_alike_are_named():
    warnings = partition_of(LENGTHS, context=200, scheme="iid")
    assert list(warnings) == [
        "classes 2, 3, 4, 5 of 5 look alike to the model: context 200 cuts 100% of their texts to the same length; "
        "raise model.context or use by: seen_tokens"
    ]
    assert not partition_of(LENGTHS, context=800, scheme="iid")
    by_something_else = rng(0, "quality").normal(size=1000)
    assert not partition_of(LENGTHS, context=200, values=by_something_else, scheme="iid")


def test_unequal_tokens_at_equal_samples_are_named_and_the_reverse():
    (line,) = partition_of(LENGTHS, scheme="client_mix", alpha=0.1)
    assert line.startswith("clients differ in tokens although they have equal samples: Gini 0.2")
    assert line.endswith("compare with client_mix and budget: tokens")
    (line,) = partition_of(LENGTHS, scheme="client_mix", alpha=0.1, budget="tokens")
    assert line.startswith("clients differ in samples although they have equal tokens: Gini 0.")


def test_under_length_skew_a_smaller_difference_in_quantity_is_named():
    """Tokens from 1 to 1.8 are no chance where longer texts went to some clients; elsewhere they may be."""
    narrow = np.arange(1000) // 10 + 100  # the longest are twice as long as the shortest
    (line,) = partition_of(narrow, scheme="client_mix", alpha=0.3)
    gini = float(line.partition("Gini ")[2].partition(",")[0])
    assert 0.05 <= gini < 0.1
    assert line.startswith("clients differ in tokens although they have equal samples")
    named = partition_of(narrow, values=rng(0, "quality").normal(size=1000), scheme="client_mix", alpha=0.3)
    assert not any("quantity" in line or "differ in tokens" in line for line in named)


def test_repair_overlap_and_idle_samples_are_named():
    (line,) = partition_of(LENGTHS, scheme="quantity", alpha=0.1)
    assert "clients were below min_samples (10): " in line
    *_, shared, unused = partition_of(LENGTHS, scheme="client_mix", alpha=0.1, overlap=True)
    assert shared.startswith("clients overlap: ")
    assert unused.endswith("of 1,000 samples belong to no client")
    (line,) = partition_of(LENGTHS[:20], scheme="iid", min_samples=1)
    assert line == "20 clients have a single sample and so no local test"
