"""The loss by position in the text: what a longer context is worth, and where a model breaks off."""

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from cllora.model.engine import Evaluator, TokenLosses
from cllora.model.patterns import FULL
from cllora.probes.probe import Moment, probes
from cllora.types import Ids

FIRST = 64
"""Tokens in the first bin."""


def final_loss(table: pd.DataFrame) -> dict[str, float]:
    """Nats per token under full attention after training: of all positions, and of the last bin that has any."""
    rows = table[(table["pattern"] == FULL.name) & (table["when"] == "after")]
    if rows.empty:
        return {}
    return {"loss": float(rows["nll"].sum() / rows["tokens"].sum()), "last_loss": float(rows["loss"].iloc[-1])}


@probes.register(when="end", title="loss by position", summary=final_loss)
def loss_by_position(model: Evaluator, moment: Moment) -> pd.DataFrame:
    """The loss by a token's position in its text, before and after training, given all of the text before it.

    Under full attention, and under that of training if it is another. A row per pattern, before and after, and bin of
    positions that has tokens: pattern, when (`before`, `after`), start and stop (positions from `start` to below
    `stop`), nll (nats, summed), tokens, loss = nll / tokens; and of all bins together texts, and bytes: how much text
    (UTF-8) the scored tokens stand for.
    """
    edges, ids = bin_edges(model.context), moment.texts
    parts = [
        in_bins(edges, model.token_losses(adapter, ids, pattern)).assign(pattern=pattern.name, when=when)
        for pattern in {pattern.name: pattern for pattern in (FULL, model.patterns["training"])}.values()
        for when, adapter in moment.before_and_after.items()
    ]
    table = pd.concat(parts)
    table = table[table["tokens"] > 0].reset_index(drop=True)
    table = table.assign(loss=table["nll"] / table["tokens"], texts=len(ids), bytes=scored_bytes(model, ids))
    return table[["pattern", "when", "start", "stop", "nll", "tokens", "loss", "texts", "bytes"]]


def bin_edges(context: int) -> list[int]:
    """0, the powers of two from 64 up to below the context, and the context; bin k is edges[k] <= p < edges[k + 1].

    A token's position p is how many tokens of its text come before it, special ones included. The first token of a text
    (p = 0) is never predicted.
    """
    powers = (FIRST << k for k in itertools.count())
    return [0, *itertools.takewhile(lambda edge: edge < context, powers), context]


def in_bins(edges: list[int], blocks: Iterable[TokenLosses]) -> pd.DataFrame:
    """Sums over predicted tokens by the bin of their position: start, stop, nll (nats) and tokens, a row per bin.

    Args:
        edges: as `bin_edges` has them.
    """
    nll, tokens = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, np.int64)
    for block in blocks:
        bins = np.searchsorted(edges, block.position, side="right") - 1
        nll += np.bincount(bins, block.nll, len(nll))
        tokens += np.bincount(bins, minlength=len(nll))
    return pd.DataFrame({"start": edges[:-1], "stop": edges[1:], "nll": nll, "tokens": tokens})


def scored_bytes(model: Evaluator, ids: Ids) -> int:
    """Bytes of text that the predicted tokens of some samples stand for (`ModelTokenizer.bytes_of`)."""
    samples, tokenizer = model.samples, model.tokenizer
    stretches = zip(*samples.answered(ids, model.context), strict=True)
    return sum(
        tokenizer.bytes_of(samples.tokens_of(int(ids[place]), int(stop)).tolist(), int(start))
        for place, start, stop in stretches
    )
