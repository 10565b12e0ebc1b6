"""Weights of the loss on the turns of a chat, as data sets state them turn by turn."""

import math
from collections.abc import Mapping
from typing import Any

Turn = Mapping[str, Any]  # whatever a template takes beside the role and the content, which are text

WHETHER = ("train", "training", "loss")
"""The names of fields that say whether the loss is on a turn, beside its `weight`."""


def unweighted(turn: Turn, everyone: bool) -> str:
    """The field of a turn that asks for another loss on it than it would get; empty if there is none.

    With `everyone` the loss is on all turns, else on the assistant's alone. Of these it is on none of weight 0, as in
    the files that OpenAI and Mistral take for fine-tuning; by other weights nothing is weighted.
    """
    weight, answer = weight_of(turn), turn["role"] == "assistant"
    if weight == 1 or (answer and weight == 0) or not (answer or everyone):
        return ""
    return next((f"a turn of {name} false" for name in WHETHER if _is_off(turn, name)), f"a turn of weight {weight:g}")


def weight_of(turn: Turn) -> float:
    """The weight of the loss on a turn: its `weight`, or 0 where `train` or its like is false; NaN for what is no
    number."""
    if any(_is_off(turn, name) for name in WHETHER):
        return 0.0
    try:
        return float(turn.get("weight", 1))
    except (TypeError, ValueError):
        return math.nan


def is_silent(turn: Turn) -> bool:
    """Whether a turn is context alone, without loss."""
    return weight_of(turn) == 0


def _is_off(turn: Turn, name: str) -> bool:
    value = turn.get(name, 1)
    return value.strip().lower() in ("0", "false") if isinstance(value, str) else value in (0, False)
