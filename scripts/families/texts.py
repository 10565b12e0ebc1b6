"""Texts on both sides of every limit in a config."""

from typing import Any

import numpy as np
from configs import POSITIONS
from transformers import PretrainedConfig

from cllora.types import Samples

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions", "context_length")
LIMITS += ("seq_length", "original_max_position_embeddings", "floor_scale", "log_scaling_n_floor")
LIMITS += ("attention_chunk_size", "sliding_window", "sliding_window_size", "local_attention", "attention_window_size")
LIMITS += ("keep_window_size", "window_size", "index_topk", "indexer_budget")
"""Fields of configs from which on something may be different for longer texts."""


def thresholds(config: PretrainedConfig) -> dict[str, list[int]]:
    """Every number in a config at which something may begin for longer texts, by its name; configs within included."""
    lengths: dict[str, list[int]] = {}

    def look(fields: Any) -> None:
        if isinstance(fields, list | tuple):
            for inner in fields:
                look(inner)
        if isinstance(fields, dict):
            for name, value in fields.items():
                if name in LIMITS and isinstance(value, int) and not isinstance(value, bool) and 2 < value <= POSITIONS:
                    lengths[name] = sorted({*lengths.get(name, []), value})
                look(value)

    look(config.get_text_config().to_dict())
    return dict(sorted(lengths.items()))


def made_up(lengths: list[int]) -> Samples:
    """Samples of random tokens with these lengths, shuffled so that long ones lie between short ones."""
    draw = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = draw.integers(4, 260, offsets[-1]).astype(np.uint16)
    tokens[offsets[:-1]] = 2
    return Samples([""] * len(lengths), tokens, offsets, np.zeros(len(lengths), np.int32), {}, "made-up")
