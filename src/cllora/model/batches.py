"""Which samples meet in a step, and how they are laid out for the network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.spec import LocalSpec
from cllora.types import Ids, Samples

IGNORED = -100
"""The label that cross-entropy leaves out."""


@dataclass(frozen=True)
class Rows:
    """A right-padded block. `places` (B,) of its samples among those asked for, `tokens` (B, T), and `labels`
    (B, T - 1): the next token, or IGNORED."""

    places: NDArray[np.int64]
    tokens: torch.Tensor
    labels: torch.Tensor


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


def blocks(samples: Samples, ids: Ids, context: int, budget: int) -> Iterator[Rows]:
    """The samples in blocks of at most `budget` tokens, padding included, longest first.

    Sorting by length keeps padding small. Padding is on the right, where a causal model's real tokens never see
    it, so no attention mask is needed.
    """
    lengths = samples.seen(ids, context)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // int(lengths[order[start]]))
        yield _block(samples, ids, order[start : start + rows], context)
        start += rows


def _block(samples: Samples, ids: Ids, places: NDArray[np.int64], context: int) -> Rows:
    texts = [samples.tokens_of(int(i), context) for i in ids[places]]
    tokens = np.zeros((len(texts), max(len(text) for text in texts)), np.int64)
    labels = np.full_like(tokens, IGNORED)
    for row, (text, prompt) in enumerate(zip(texts, samples.prompts[ids[places]], strict=True)):
        tokens[row, : len(text)] = text
        labels[row, prompt : len(text)] = text[prompt:]
    return Rows(places, torch.from_numpy(tokens), torch.from_numpy(labels[:, 1:].copy()))
