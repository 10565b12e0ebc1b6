"""Every way in which clients differ without having been asked to is named with its size, and nothing else is."""

import numpy as np
import pytest

from cllora.partition import Axis, make_partition, pool_of
from cllora.seeds import rng
from cllora.spec import PartitionSpec

SAMPLES, CLIENTS = 2000, 20
NO_IDS = np.empty(0, np.int64)
LENGTHS = np.exp(rng(0, "lengths").normal(5, 0.7, SAMPLES)).astype(np.int64) + 1
CORRUPTED = rng(0, "spoiled").random(SAMPLES) < 0.3
MARK = rng(0, "mark").normal(size=SAMPLES)
EVEN = np.full(SAMPLES, 100)


def warnings(values, lengths=LENGTHS, *, by="length", seed=0, second=None, corrupted=None, columns=None, **fields):
    spec = PartitionSpec.model_validate({"num_clients": CLIENTS, "by": by, "min_samples": 1, **fields})
    pool = pool_of(
        spec,
        ids=np.arange(SAMPLES),
        values=np.asarray(values, np.float64),
        lengths=lengths,
        context=1000,
        columns=columns,
        second=None if second is None else Axis.from_values(np.asarray(second, np.float64), spec.and_classes),
        corrupted=corrupted,
    )
    return make_partition(spec, pool, NO_IDS, seed).heterogeneity.warnings


@pytest.mark.parametrize("scheme", ["iid", "client_mix", "class_split", "quantity"])
def test_a_random_deal_has_no_confounds(scheme):
    """Some deals of a thousand may: of these hundred at most one."""
    options = {} if scheme == "iid" else {"alpha": "iid"}
    found = [
        warnings(
            MARK, by="mark", seed=seed, second=LENGTHS, and_by="length", corrupted=CORRUPTED, scheme=scheme, **options
        )
        for seed in range(25)
    ]
    assert sum(len(each) for each in found) <= 1


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_what_is_asked_for_is_no_confound(alpha):
    quality = {"by": "corrupted", "classes": 2, "corrupted": CORRUPTED, "alpha": alpha}
    assert not warnings(CORRUPTED, EVEN, **quality)
    assert not warnings(MARK, EVEN, by="mark", alpha=alpha, quantity_alpha=100)
    assert not warnings(MARK, EVEN, by="mark", alpha=alpha, quantity_alpha=1.0)
    assert not warnings(MARK, EVEN, by="mark", scheme="quantity", alpha=1.0)
    both = {"second": CORRUPTED, "and_by": "corrupted", "and_classes": 2, "and_alpha": alpha}
    assert not warnings(MARK, EVEN, by="mark", alpha=alpha, corrupted=CORRUPTED, **both)


def test_tokens_under_length_skew_and_samples_at_equal_tokens():
    (line,) = warnings(LENGTHS, alpha=0.1)
    assert line.startswith("clients differ in tokens although they have equal samples: Gini 0.")
    assert line.endswith("compare with client_mix and budget: tokens")
    (line,) = warnings(LENGTHS, alpha=0.1, budget="tokens")
    assert line.startswith("clients differ in samples although they have equal tokens: Gini 0.")


def test_length_under_quality_skew():
    noisy = np.where(CORRUPTED, 160, 100)
    lines = warnings(CORRUPTED, noisy, by="corrupted", classes=2, corrupted=CORRUPTED, alpha=0.1)
    (line,) = [line for line in lines if "length" in line]
    assert line.startswith("clients differ in text length, which was not asked for: their means are from 100 to 160")
    assert "% of the variance lies between clients (1.0% on average in a random deal)" in line
    # Equal tokens do not make texts equally long; unequal samples are named too.
    lines = warnings(CORRUPTED, noisy, by="corrupted", classes=2, corrupted=CORRUPTED, alpha=0.1, budget="tokens")
    assert any(line.startswith("clients differ in text length") for line in lines)


def test_length_under_a_skew_of_what_goes_with_length():
    near = np.log(LENGTHS) + rng(1, "near").normal(0, 0.5, SAMPLES)
    lines = warnings(near, by="near", alpha=0.1)
    assert any(line.startswith("clients differ in text length, which was not asked for") for line in lines)


def test_quantity_under_class_split():
    (line,) = warnings(MARK, EVEN, by="mark", scheme="class_split", alpha=0.5)
    assert line.startswith("clients differ in quantity, which was not asked for: Gini 0.")
    assert " of samples (from " in line
    assert line.endswith("client_mix keeps one of them equal")


def test_the_dose_under_length_skew():
    cut = np.where(CORRUPTED, LENGTHS // 2 + 1, LENGTHS)
    lines = warnings(cut, cut, corrupted=CORRUPTED, alpha=0.1)
    (line,) = [line for line in lines if "corrupted" in line]
    assert line.startswith("clients differ in their share of corrupted texts, which was not asked for: from ")
    assert not [line for line in warnings(LENGTHS, corrupted=CORRUPTED, alpha=0.1) if "corrupted" in line]


def test_owners_that_differ_in_everything():
    owner = rng(0, "owner").choice(CLIENTS, SAMPLES, p=np.arange(1, CLIENTS + 1) / 210)
    lengths = LENGTHS + 20 * owner
    lines = warnings(lengths, lengths, scheme="natural", column="owner", columns={"owner": owner.tolist()})
    assert any(line.startswith("clients differ in quantity") for line in lines)
    assert any(line.startswith("clients differ in text length") for line in lines)


def test_a_second_feature_that_goes_with_the_first():
    near = MARK + rng(1, "near").normal(0, 0.3, SAMPLES)
    lines = warnings(MARK, EVEN, by="mark", alpha=0.1, second=near, and_by="near")
    assert lines[0].startswith("clients differ in near, which was not asked for: ")
    assert lines[1].startswith("mark and near go together in the texts (Cramér's V 0.")
    apart = warnings(MARK, EVEN, by="mark", alpha=0.1, second=rng(2, "far").normal(size=SAMPLES), and_by="far")
    assert not apart
    few = warnings(MARK, EVEN, by="mark", alpha=0.1, second=CORRUPTED, and_by="flag", and_classes=3)
    assert few == ("the second feature has too few distinct values for 3 classes: there are 2",)
