"""The loss by position in the text: what a longer context is worth, and where a model breaks off."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cllora.model.batches import Packed

FIRST = 64
"""Tokens in the first bin."""


def bin_edges(context: int) -> list[int]:
    """0, the powers of two from 64 up to below the context, and the context; bin k is edges[k] <= p < edges[k + 1].

    A token's position p is how many tokens of its text come before it, special ones included. The first token of a text
    (p = 0) is never predicted.
    """
    powers = (FIRST << k for k in itertools.count())
    return [0, *itertools.takewhile(lambda edge: edge < context, powers), context]


def in_bins(edges: list[int], scored: Iterable[tuple[Packed, NDArray[np.float64]]]) -> dict[str, list[Any]]:
    """Sums over predicted tokens by the bin of their position: `nll` in nats and `tokens`, each (bins,).

    Args:
        edges: as `bin_edges` has them.
        scored: rows of packed texts, each with the losses of its predicted tokens (L,).
    """
    nll, tokens = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, np.int64)
    for row, losses in scored:
        positions = 1 + row.positions[0, row.keep[: len(losses)]].cpu().numpy()
        bins = np.searchsorted(edges, positions, side="right") - 1
        nll += np.bincount(bins, losses, len(nll))
        tokens += np.bincount(bins, minlength=len(nll))
    return {"nll": nll.tolist(), "tokens": tokens.tolist()}
