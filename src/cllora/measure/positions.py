"""How well a text is read on by how much of it came before, and what is found again in it."""

import math

import pandas as pd


def bits_per_byte(nll: float, count: float) -> float:
    """nll / (ln 2 · bytes): summed nats as bits over the bytes of the same text in UTF-8, whatever the tokenizer."""
    return nll / (math.log(2) * count) if count > 0 else math.nan


def position_outcomes(table: pd.DataFrame, pattern: str = "full") -> dict[str, float]:
    """What the table of `loss_by_position` comes to under one pattern of evaluation; NaN if it was not evaluated.

    position_loss           nats per token, each token scored once given all of its text before it
    last_position_loss      of the tokens with the most text before them: the last bin that has any
    base_position_loss, base_last_position_loss   the same of the untrained base
    bits_per_byte           as the function
    """
    outcomes: dict[str, float] = {}
    for when, name in (("after", ""), ("before", "base_")):
        rows = table[(table["pattern"] == pattern) & (table["when"] == when)]
        nll, tokens = float(rows["nll"].sum()), float(rows["tokens"].sum())
        outcomes[f"{name}position_loss"] = nll / tokens if tokens else math.nan
        outcomes[f"{name}last_position_loss"] = float(rows["loss"].iloc[-1]) if tokens else math.nan
        if when == "after":
            outcomes["bits_per_byte"] = bits_per_byte(nll, rows["bytes"].iloc[0]) if tokens else math.nan
    return outcomes
