"""From the order of texts back to alpha: the likelihood is a probability, and `inspect` recovers a known alpha."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from cllora.partition import (
    Owners,
    inspect_owners,
    make_partition,
    mix_alpha,
    pool_of,
    quantile_classes,
    rank_alpha,
    ranks,
)
from cllora.partition.dealing import dirichlet
from cllora.partition.estimate import log_rising
from cllora.seeds import rng
from cllora.spec import Choice, PartitionSpec

OWNERS, CLASSES, REPEATS = 20, 5, 10
LENGTH = Choice(name="length")


def log_chance(owner, alpha, classes):
    """The log of the chance of an order of texts, from the sum over every cut."""
    every = np.arange(len(owner) + 1)
    sizes = np.bincount(owner).astype(float)
    summed = ranks.Ranges.between(every, every, np.asarray(owner)).log_sum(alpha, classes)
    return summed - log_rising(sizes, alpha * classes).sum() - len(owner) * math.log(classes)


@pytest.mark.parametrize("alpha", [0.05, 0.7, 30.0])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_chances_of_all_orders_sum_to_one(alpha, classes):
    texts = [0, 0, 0, 1, 1, 2]
    orders = Counter(itertools.permutations(texts))
    chances = {order: math.exp(log_chance(order, alpha, classes)) for order in orders}
    assert sum(chances[order] * times for order, times in orders.items()) == pytest.approx(1)
    assert max(chances.values()) > 1.01 * min(chances.values())


def test_the_chance_is_the_sum_written_out():
    owner = np.array([0, 1, 0, 0, 1, 2, 1, 2, 2, 2])
    alpha, n = 0.4, len(owner)
    expected = 0.0
    for cuts in itertools.combinations_with_replacement(range(n + 1), 2):
        classes = np.searchsorted(cuts, np.arange(n), side="right")
        counts = np.bincount(owner * 3 + classes, minlength=9).reshape(3, 3)
        factors = [math.prod(alpha + i for i in range(each)) for each in counts.ravel()]
        factors += [1 / math.prod(3 * alpha + i for i in range(each)) for each in counts.sum(axis=1)]
        expected += math.prod(factors) / math.prod(math.factorial(each) for each in counts.sum(axis=0))
    assert log_chance(owner, alpha, 3) == pytest.approx(math.log(expected))


def drawn(alpha, name, texts=80):
    """Owners, of unlike sizes, whose mixes and texts are by chance: classes have no size of their own in the pool."""
    draw = rng(0, "ranks", name, str(alpha))
    sizes = draw.integers(texts // 2, 3 * texts // 2, OWNERS)
    mixes = dirichlet(np.full(CLASSES, alpha), OWNERS, draw)
    classes = np.concatenate([draw.choice(CLASSES, size, p=mix) for size, mix in zip(sizes, mixes, strict=True)])
    return np.repeat(np.arange(OWNERS), sizes), classes + draw.random(len(classes))


def dealt(alpha, name, texts=180):
    """What `client_mix` deals by a partition of its own."""
    count = OWNERS * texts
    spec = PartitionSpec(num_clients=OWNERS, classes=CLASSES, min_samples=1, local_test=0, alpha=alpha)
    values = rng(0, "ranks", name).permutation(count).astype(float)
    pool = pool_of(spec, ids=np.arange(count), values=values, lengths=np.ones(count, np.int64), context=8)
    found = make_partition(spec, pool, np.empty(0, np.int64), seed=int(name))
    return np.repeat(np.arange(OWNERS), np.diff(found.train_offsets)), values[found.train_ids]


def inspected(owner, values, by=LENGTH, classes=CLASSES):
    """The alpha that is found of owners' values."""
    names = tuple(map(str, range(int(owner.max()) + 1)))
    owners = Owners(names, owner, np.ones(len(owner), np.int64), [(by, values)])
    return inspect_owners(owners, classes).features[0].alpha


# A deal at alpha 5 is more even than chance would have its texts, so that it is read as weaker: docs/method.md.
@pytest.mark.parametrize(
    ("make", "alpha"), [*((drawn, a) for a in (0.1, 0.5, 1, 5)), *((dealt, a) for a in (0.1, 0.5, 1))]
)
def test_inspection_recovers_alpha(make, alpha):
    found = [inspected(*make(alpha, str(i))) for i in range(REPEATS)]
    assert np.mean([one.low <= alpha <= one.high for one in found]) >= 0.7  # of 0.9 or so; docs/method.md
    assert np.median([one.alpha for one in found]) == pytest.approx(alpha, rel=0.25)


def test_cuts_at_the_quantiles_would_not_do():
    owner, values = drawn(0.1, "1")
    classes, _ = quantile_classes(values, CLASSES)
    counts = np.bincount(owner * CLASSES + classes, minlength=OWNERS * CLASSES).reshape(OWNERS, CLASSES)
    assert mix_alpha(counts).low > 0.12
    assert inspected(owner, values).low < 0.1 < inspected(owner, values).high


def test_chance_alone_is_told_from_skew():
    draw = rng(0, "ranks", "iid")
    found = [inspected(np.repeat(np.arange(OWNERS), 60), draw.random(60 * OWNERS)) for _ in range(REPEATS)]
    assert np.mean([math.isinf(one.high) for one in found]) >= 0.7
    assert min(one.low for one in found) > 5


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_some_candidates_tell_what_all_cuts_tell(alpha, monkeypatch):
    owner, values = drawn(alpha, "candidates", texts=16)
    some = rank_alpha(owner, values, CLASSES)
    monkeypatch.setattr(ranks, "EVENLY", len(owner) + 1)
    every = rank_alpha(owner, values, CLASSES)
    assert (some.alpha, some.low, some.high) == pytest.approx((every.alpha, every.low, every.high), rel=0.02)


def test_only_the_order_counts():
    owner, values = drawn(0.5, "order", texts=30)
    found = rank_alpha(owner, values, CLASSES)
    assert rank_alpha(owner, np.exp(values), CLASSES) == found
    assert rank_alpha(OWNERS - 1 - owner, -values, CLASSES).alpha == pytest.approx(found.alpha, rel=0.01)


def test_equal_values_are_of_one_class():
    found = [inspected(owner, np.floor(4 * values)) for owner, values in (drawn(0.5, f"tie {i}") for i in range(5))]
    assert np.median([one.alpha for one in found]) == pytest.approx(0.5, rel=0.25)


def test_values_that_are_classes_are_not_cut_anew():
    owner, values = drawn(0.5, "classes")
    known = np.floor(values).astype(int)
    expected = mix_alpha(np.bincount(owner * CLASSES + known, minlength=OWNERS * CLASSES).reshape(OWNERS, CLASSES))
    assert inspected(owner, known.astype(float), Choice(name="topic")) == expected
    assert not ranks.can_be_cut(known.astype(float), CLASSES)
    assert inspected(owner, (known > 2).astype(float)) is not None


def test_nothing_to_tell():
    assert rank_alpha(np.arange(9), np.arange(9.0), 3) is None
    assert inspected(np.array([0, 0, 1, 1]), np.ones(4)) is None
