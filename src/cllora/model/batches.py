"""Batches: the samples of a step, and their layout for the network."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.model.attention import Packing
from cllora.model.device import on_device
from cllora.model.patterns import FULL, Pattern
from cllora.spec import LocalSpec
from cllora.types import Ids, Samples


@dataclass(frozen=True)
class Packed:
    """Texts one after the other in one row. N tokens, S texts, L of the tokens predicted.

    `places` (S,) are the texts' places among those asked for, `ids` (S,) their samples, `lengths` (S,) their tokens;
    `sizes` says how many tokens are of each batch, in order. `tokens` and `positions` are (1, N). `keep` (L,) are the
    tokens whose successor is predicted, `targets` (L,) those successors, `batch` (L,) the batch they are of, `owner`
    (L,) the text (on the host). `states` (1, N, D) are the hidden states that the pass begins with, above the lower
    layers; None where it begins with the tokens.

    Behind the texts there is filler (see `rounded`): a text of its own at the end of the row, of no batch, and places
    of batch -1 at the end of `keep`, `targets` and `batch`, which are not in `owner`.
    """

    places: NDArray[np.int64]
    ids: Ids
    lengths: NDArray[np.int64]
    sizes: list[int]
    tokens: torch.Tensor
    positions: torch.Tensor
    keep: torch.Tensor
    targets: torch.Tensor
    batch: torch.Tensor
    owner: NDArray[np.int64]
    packing: Packing
    states: torch.Tensor | None = None


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


def packed(
    samples: Samples,
    batches: Sequence[Ids],
    context: int | Sequence[int],
    budget: int,
    device: torch.device,
    pattern: Pattern = FULL,
) -> Iterator[Packed]:
    """The samples of some batches, in as many rows as keep each batch within `budget` tokens a row (or one text).

    A batch is cut into blocks as if it were alone; the first row holds the first block of every batch, and so on.
    `context` is how many tokens of a text are seen, by all batches or by each; `pattern` says who sees whom in a text.
    """
    contexts = np.broadcast_to(np.asarray(context, np.int64), len(batches))
    cut = [list(blocks_of(samples.seen(ids, int(c)), budget)) for ids, c in zip(batches, contexts, strict=True)]
    every, begins = np.concatenate(batches), np.cumsum([0, *(len(ids) for ids in batches)])
    nothing = np.zeros(0, np.int64)
    for blocks in itertools.zip_longest(*cut, fillvalue=nothing):
        places = np.concatenate([block + begin for block, begin in zip(blocks, begins, strict=False)])
        batch_of = np.repeat(np.arange(len(batches)), [len(block) for block in blocks])
        yield _pack(samples, every, places, batch_of, contexts, device, pattern)


def blocks_of(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Places cut into blocks, longest text first: those of about one length meet in attention."""
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
        yield order[start:stop]
        start = stop


def _pack(
    samples: Samples,
    ids: Ids,
    places: NDArray[np.int64],
    batch_of: NDArray[np.int64],
    contexts: NDArray[np.int64],
    device: torch.device,
    pattern: Pattern,
) -> Packed:
    texts = [samples.tokens_of(int(i), int(c)) for i, c in zip(ids[places], contexts[batch_of], strict=True)]
    lengths = np.array([len(text) for text in texts])
    owner = np.repeat(np.arange(len(texts)), lengths)
    positions = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # A token is predicted from the one before it, unless it is its text's first or not of an answer.
    text_of_span, starts, stops = samples.answered(ids[places], contexts[batch_of])
    begins = (np.cumsum(lengths) - lengths)[text_of_span]
    edges = np.bincount(begins + starts, minlength=len(owner) + 1) - np.bincount(
        begins + stops, minlength=len(owner) + 1
    )
    target = np.flatnonzero(np.cumsum(edges)[: len(owner)])
    sizes = np.bincount(batch_of, lengths, minlength=len(contexts)).astype(int).tolist()
    tokens = np.concatenate(texts)
    more, most = rounded(len(tokens)) - len(tokens), rounded(max(1, len(target))) - len(target)
    arrays = (
        np.concatenate([tokens, np.zeros(more, np.int64)]),
        np.concatenate([positions, np.arange(more) % contexts.min()]),
        np.concatenate([target - 1, np.zeros(most, np.int64)]),
        np.concatenate([tokens[target], np.zeros(most, np.int64)]),
        np.concatenate([batch_of[owner[target]], np.full(most, -1)]),
    )
    on = [on_device(array, device) for array in arrays]
    packing = Packing.of_lengths(np.append(lengths, more) if more else lengths, device, pattern)
    return Packed(
        places, ids[places], lengths, sizes, on[0][None], on[1][None], on[2], on[3], on[4], owner[target], packing
    )


def rounded(count: int) -> int:
    """The next number of which there are 32 between a power of two and the next: at most 3 % more, 1 % on average.

    Matrix products are prepared for a shape, which takes longer than many products do, and memory: a few hundred
    shapes are prepared once, thousands again and again.
    """
    grain = max(1, 1 << (count.bit_length() - 6)) if count >= 64 else 2
    return -(-count // grain) * grain
