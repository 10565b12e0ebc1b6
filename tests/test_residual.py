"""A feature at equal length: its dependence on length goes, its order within a length stays."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.errors import UsageError
from cllora.partition import check_residual, place_at_length, quantile_classes, rank_correlation
from cllora.spec import PartitionSpec

lengths_and_values = st.lists(st.tuples(st.integers(1, 12), st.integers(-5, 5)), min_size=1, max_size=60)


def made_up(count: int, seed: int = 0):
    """Log-normal lengths, and a feature that rises with them in a bend and varies more where they are short."""
    draw = np.random.default_rng(seed)
    lengths = np.exp(draw.normal(4, 1, count)).astype(np.int64) + 1
    return lengths, 3 * np.sqrt(np.log(lengths)) + draw.normal(0, 1, count) * (0.2 + 5 / np.sqrt(lengths))


@pytest.mark.parametrize(("count", "most"), [(400, 0.12), (4000, 0.03)])
def test_the_correlation_with_length_goes(count, most):
    lengths, values = made_up(count)
    places = place_at_length(values, lengths, np.arange(count))
    assert rank_correlation(values, lengths) > 0.3
    assert abs(rank_correlation(places, lengths)) < most
    assert abs(np.corrcoef(places, np.log(lengths))[0, 1]) < most
    assert places.min() >= 0
    assert places.max() <= 1


def test_the_classes_have_equal_lengths_where_those_of_a_straight_line_have_not():
    lengths, values = made_up(4000)
    log = np.log(lengths)
    line = values - np.polyval(np.polyfit(log, values, 1), log)
    apart = {}
    for name, residual in (("line", line), ("places", place_at_length(values, lengths, np.arange(4000)))):
        classes, _ = quantile_classes(residual, 5)
        means = np.array([log[classes == c].mean() for c in range(5)])
        apart[name] = means.max() - means.min()
    assert apart["places"] < 0.15 < 0.5 < apart["line"]


@given(rows=lengths_and_values)
def test_the_order_within_a_length_stays(rows):
    lengths, values = (np.array(column) for column in zip(*rows, strict=True))
    places = place_at_length(values.astype(float), lengths, np.arange(len(rows)))
    for length in set(lengths.tolist()):
        same = np.flatnonzero(lengths == length)
        order = np.sign(values[same][:, None] - values[same][None, :])
        assert np.array_equal(np.sign(places[same][:, None] - places[same][None, :]), order)


@given(rows=lengths_and_values, scale=st.sampled_from([np.exp, lambda v: 3 * v + 1, np.arctan]))
def test_only_the_order_of_values_counts(rows, scale):
    lengths, values = (np.array(column) for column in zip(*rows, strict=True))
    every = np.arange(len(rows))
    bent = place_at_length(scale(values.astype(float)), lengths, every)
    assert np.array_equal(bent, place_at_length(values.astype(float), lengths, every))


@given(lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=200))
def test_what_depends_on_length_alone_is_a_half(lengths):
    known = np.array(lengths)
    assert set(place_at_length(np.log(known), known, np.arange(len(known))).tolist()) == {0.5}


def test_by_hand():
    """Five texts of one length, and one that is not of the pool and is compared with them."""
    values, lengths = np.array([10.0, 20, 20, 30, 40, 25]), np.array([7, 7, 7, 7, 7, 7])
    places = place_at_length(values, lengths, np.arange(5))
    assert places.tolist() == pytest.approx([0.1, 0.4, 0.4, 0.7, 0.9, 0.6])


@pytest.mark.parametrize("length", [1, 55, 10_000])
def test_a_text_of_a_length_that_the_pool_has_not_is_compared_with_the_nearest(length):
    lengths = np.append(np.arange(10, 110, 10), length)
    values = np.append(np.arange(10.0), 100.0)
    assert place_at_length(values, lengths, np.arange(10))[-1] == 1


@given(rows=lengths_and_values)
def test_rank_correlation_is_spearmans(rows):
    one, other = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(one.tolist())) > 1 and len(set(other.tolist())) > 1:
        by_hand = pd.Series(one).rank().corr(pd.Series(other).rank())
        assert rank_correlation(one, other) == pytest.approx(by_hand, abs=1e-9)
    else:
        assert rank_correlation(one, other) == 0


@pytest.mark.parametrize("name", ["length", "seen_tokens", "topic"])
def test_what_has_no_residual_is_refused(name):
    with pytest.raises(UsageError, match=rf"^partition.residual_on: .*{name}"):
        check_residual(PartitionSpec.model_validate({"by": name, "residual_on": "length"}))
    check_residual(PartitionSpec.model_validate({"by": "mtld", "residual_on": "length"}))
