"""Repeated texts are found by their tokens, in any batch."""

import numpy as np
import pytest

from cllora.corpus import repeated_in, repeats
from cllora.types import Samples


def samples_of(texts):
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    tokens = np.array([token for text in texts for token in text], np.uint16)
    return Samples([""] * len(texts), tokens, offsets, np.zeros(len(texts), np.int32), {}, "made up")


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_equal_texts_and_no_others_have_equal_hashes(batch, monkeypatch):
    monkeypatch.setattr(repeats, "BATCH", batch)
    draw = np.random.default_rng(0)
    texts = [tuple(draw.integers(0, 4, draw.integers(2, 7))) for _ in range(300)]
    hashes = repeats.text_hashes(samples_of(texts))
    for one, two in draw.integers(0, 300, (2000, 2)):
        assert (hashes[one] == hashes[two]) == (texts[one] == texts[two])


def test_repeats_are_counted_by_hand():
    samples = samples_of([(1, 2), (2, 1), (1, 2), (1, 2, 0), (5, 6), (2, 1)])
    assert repeated_in(samples, np.array([0, 1, 3]), np.array([2, 4])) == 1
    assert repeated_in(samples, np.array([0, 1]), np.array([2, 5])) == 2
