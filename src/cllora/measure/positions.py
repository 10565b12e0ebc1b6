"""How well a text is read on by how much of it came before, and what is found again in it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def bits_per_byte(nll: float, count: float) -> float:
    """nll / (ln 2 · bytes): summed nats as bits over the bytes of the same text in UTF-8, whatever the tokenizer."""
    return nll / (math.log(2) * count) if count > 0 else math.nan


def by_position(kept: Mapping[str, Any]) -> pd.DataFrame:
    """`positions.json` as a table: a row per pattern, before and after, and bin of positions that has tokens.

    Returns columns pattern (of evaluation), when (`before`: the base, `after`: the final adapter), start and stop (a
    token at position p, the first of a text being at 0, is in the bin with start <= p < stop), nll (nats, summed),
    tokens, and loss = nll / tokens.
    """
    edges = kept["edges"]
    bins = [
        pd.DataFrame({"pattern": pattern, "when": when, "start": edges[:-1], "stop": edges[1:], **sums[when]})
        for pattern, sums in kept["patterns"].items()
        for when in ("before", "after")
    ]
    table = pd.concat(bins, ignore_index=True)
    table = table[table["tokens"] > 0].reset_index(drop=True)
    return table.assign(loss=table["nll"] / table["tokens"])


def position_outcomes(kept: Mapping[str, Any], pattern: str = "full") -> dict[str, float]:
    """What `positions.json` comes to under one pattern of evaluation; NaN if it was not evaluated.

    position_loss           nats per token, each token scored once given all of its text before it
    last_position_loss      of the tokens with the most text before them: the last bin that has any
    base_position_loss, base_last_position_loss   the same of the untrained base
    bits_per_byte           as the function
    """
    table = by_position(kept)
    found: dict[str, float] = {}
    for when, name in (("after", ""), ("before", "base_")):
        rows = table[(table["pattern"] == pattern) & (table["when"] == when)]
        nll, tokens = float(rows["nll"].sum()), float(rows["tokens"].sum())
        found[f"{name}position_loss"] = nll / tokens if tokens else math.nan
        found[f"{name}last_position_loss"] = float(rows["loss"].iloc[-1]) if tokens else math.nan
        if when == "after":
            found["bits_per_byte"] = bits_per_byte(nll, kept["bytes"]) if tokens else math.nan
    return found


def passkeys(kept: Mapping[str, Any]) -> pd.DataFrame:
    """`passkey.json` as a table: a row per length and depth.

    Returns columns length (tokens), depth (0: the text's beginning, 1: its end), keys, and for `before` and `after`
    training found_* (how many of the keys) and nats_* (mean negative log-likelihood of a key's token).
    """
    lengths, depths = kept["lengths"], kept["depths"]
    grid = {"length": np.repeat(lengths, len(depths)), "depth": np.tile(depths, len(lengths)), "keys": kept["keys"]}
    for when in ("before", "after"):
        grid[f"found_{when}"] = np.ravel(kept[when]["found"])
        grid[f"nats_{when}"] = np.ravel(kept[when]["nll"]).astype(float)
    return pd.DataFrame(grid)
