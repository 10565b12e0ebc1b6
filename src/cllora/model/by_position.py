"""The loss by position in the text: what a longer context is worth, and where a model breaks off."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cllora.model.engine import Evaluator, TokenLosses
from cllora.model.patterns import FULL
from cllora.types import Ids, Vector

FIRST = 64
"""Tokens in the first bin."""


def bin_edges(context: int) -> list[int]:
    """0, the powers of two from 64 up to below the context, and the context; bin k is edges[k] <= p < edges[k + 1].

    A token's position p is how many tokens of its text come before it, special ones included. The first token of a text
    (p = 0) is never predicted.
    """
    powers = (FIRST << k for k in itertools.count())
    return [0, *itertools.takewhile(lambda edge: edge < context, powers), context]


def by_position(model: Evaluator, adapters: Mapping[str, Vector], ids: Ids) -> dict[str, Any]:
    """The losses of some samples by position in their text, under each adapter by its name; JSON-able.

    Each predicted token is scored once, given all of its text before it: under full attention, and under that of
    training if it is another. Keys: `texts`, `tokens` and `bytes` scored; `edges` (bins + 1,), see `bin_edges`; and
    `patterns`, by pattern and adapter `nll` (bins,), summed, in nats, and `tokens` (bins,).
    """
    edges = bin_edges(model.context)
    sums = {
        pattern.name: {
            whose: in_bins(edges, model.token_losses(adapter, ids, pattern)) for whose, adapter in adapters.items()
        }
        for pattern in {pattern.name: pattern for pattern in (FULL, model.patterns["training"])}.values()
    }
    counts = {"tokens": int(model.samples.predicted(ids, model.context).sum()), "bytes": scored_bytes(model, ids)}
    return {"texts": len(ids), **counts, "edges": edges, "patterns": sums}


def in_bins(edges: list[int], blocks: Iterable[TokenLosses]) -> dict[str, list[Any]]:
    """Sums over predicted tokens by the bin of their position: `nll` in nats and `tokens`, each (bins,).

    Args:
        edges: as `bin_edges` has them.
    """
    nll, tokens = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, np.int64)
    for block in blocks:
        bins = np.searchsorted(edges, block.position, side="right") - 1
        nll += np.bincount(bins, block.nll, len(nll))
        tokens += np.bincount(bins, minlength=len(nll))
    return {"nll": nll.tolist(), "tokens": tokens.tolist()}


def scored_bytes(model: Evaluator, ids: Ids) -> int:
    """Bytes of text that the predicted tokens of some samples stand for (`ModelTokenizer.bytes_of`)."""
    samples, tokenizer = model.samples, model.tokenizer
    stretches = zip(*samples.answered(ids, model.context), strict=True)
    return sum(
        tokenizer.bytes_of(samples.tokens_of(int(ids[place]), int(stop)).tolist(), int(start))
        for place, start, stop in stretches
    )
