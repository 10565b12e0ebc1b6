"""Texts that occur more than once, told by their tokens."""

import numpy as np
from numpy.typing import NDArray

from cllora.seeds import rng
from cllora.types import Ids, Samples

BATCH = 1_000_000
"""Tokens hashed at a time."""


def text_hashes(samples: Samples) -> NDArray[np.uint64]:
    """A 64-bit hash of every sample's tokens, uncut. Equal texts have equal ones; others hardly ever. Shape (len,).

    The sum of token times a random weight of its position, modulo 2^64: exact in any batch, and no loop over texts.
    """
    longest = int(samples.lengths().max())
    weights = rng(0, "hash").integers(1, 2**63, longest, dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(samples), np.uint64)
    first = 0
    while first < len(samples):
        # As many whole texts as fit the batch, one at least.
        last = int(np.searchsorted(samples.offsets, samples.offsets[first] + BATCH, side="right")) - 1
        last = min(max(last, first + 1), len(samples))
        start, stop = int(samples.offsets[first]), int(samples.offsets[last])
        lengths = np.diff(samples.offsets[first : last + 1])
        positions = np.arange(stop - start) - np.repeat(samples.offsets[first:last] - start, lengths)
        values = (np.asarray(samples.tokens[start:stop], np.uint64) + 1) * weights[positions]
        hashes[first:last] = np.add.reduceat(values, samples.offsets[first:last] - start)
        first = last
    return hashes


def repeated_in(samples: Samples, ids: Ids, among: Ids) -> int:
    """The number of the samples `ids` that have the very text of one of those in `among`."""
    hashes = samples.once("text hashes", lambda: text_hashes(samples))
    return int(np.isin(hashes[ids], hashes[among]).sum())
