"""Which samples meet in a step, and how they are laid out for the network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.model.attention import Packing
from cllora.spec import LocalSpec
from cllora.types import Ids, Samples

MOST_GATHERED = 2
"""How many times the budget of tokens may be gathered for attention."""


@dataclass(frozen=True)
class Packed:
    """Texts one after the other in one row, without padding. N tokens, S texts, L of the tokens predicted.

    `places` (S,) are the texts' places among those asked for. `tokens` and `positions` are (1, N). `keep` (L,) are
    the tokens whose successor is predicted, `targets` (L,) those successors, `owner` (L,) the text they belong to
    (on the host).
    """

    places: NDArray[np.int64]
    tokens: torch.Tensor
    positions: torch.Tensor
    keep: torch.Tensor
    targets: torch.Tensor
    owner: NDArray[np.int64]
    packing: Packing


def steps_of(local: LocalSpec, samples: int) -> int:
    """Optimiser steps of one client's local training: `local.steps`, or all batches of `local.epochs`."""
    return local.steps or local.epochs * -(-samples // local.batch_size)


def training_batches(ids: Ids, local: LocalSpec, generator: np.random.Generator) -> Iterator[Ids]:
    """The ids of each step: shuffled anew every epoch, the last batch of an epoch may be smaller."""
    left = steps_of(local, len(ids))
    while left > 0:
        order = generator.permutation(ids)
        for start in range(0, len(order), local.batch_size)[:left]:
            yield order[start : start + local.batch_size]
            left -= 1


def packed(samples: Samples, ids: Ids, context: int, budget: int, device: torch.device) -> Iterator[Packed]:
    """The samples packed, longest first, into as many rows as keep each within `budget` tokens (or one text).

    Neighbours are of about one length, so that little is gathered in vain for attention.
    """
    lengths = samples.seen(ids, context)
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + budget, side="right"))
        # For attention all are as long as the first: many short ones beside it would be gathered in vain.
        stop = min(stop, start + MOST_GATHERED * budget // int(lengths[order[start]]))
        stop = max(stop, start + 1)
        yield _pack(samples, ids, order[start:stop], context, device)
        start = stop


def _pack(samples: Samples, ids: Ids, places: NDArray[np.int64], context: int, device: torch.device) -> Packed:
    texts = [samples.tokens_of(int(i), context) for i in ids[places]]
    tokens = np.concatenate(texts)
    lengths = np.array([len(text) for text in texts])
    owner = np.repeat(np.arange(len(texts)), lengths)
    positions = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # A token is predicted from the one before it, unless it is its text's first or of the prompt.
    target = np.flatnonzero(positions >= np.maximum(samples.prompts[ids[places]], 1)[owner])
    on = [torch.from_numpy(array).to(device) for array in (tokens, positions, target - 1, tokens[target])]
    packing = Packing.of_lengths(lengths, device)
    return Packed(places, on[0][None], on[1][None], on[2], on[3], owner[target], packing)
