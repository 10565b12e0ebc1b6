"""What is trained: the one place that knows the architectures."""

from __future__ import annotations

from dataclasses import dataclass

from tokens import CONTEXT, PAD_ID, START_ID, VOCABULARY
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel


@dataclass(frozen=True)
class Shape:
    """What a width comes with. The narrow ones are shallower and see less, so that both together stay below 3 MB."""

    layers: int
    heads: int  # of 32 dimensions each
    context: int
    key_heads: int | None = None  # heads that keys and values have, if fewer: each serves a group of the others


SHAPES = {64: Shape(2, 2, CONTEXT // 2), 128: Shape(2, 4, CONTEXT // 2), 256: Shape(4, 8, CONTEXT)}
FULL_WIDTH = max(SHAPES)
ROTARY = Shape(4, 8, 512, key_heads=2)


def untrained(name: str, width: int = FULL_WIDTH) -> PreTrainedModel:
    """Return a freshly initialised model of 0.4 to 5 million parameters, its head tied to its embedding."""
    shape = ROTARY if name == "rotary" else SHAPES[width]
    shared = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "bos_token_id": START_ID,
        "eos_token_id": START_ID,
        "pad_token_id": PAD_ID,
        "tie_word_embeddings": True,
    }
    if name == "opt":
        return OPTForCausalLM(
            OPTConfig(**shared, ffn_dim=4 * width, word_embed_proj_dim=width, do_layer_norm_before=True, dropout=0.0)
        )
    if name in ("llama", "rotary"):
        return LlamaForCausalLM(
            LlamaConfig(**shared, intermediate_size=11 * width // 4, num_key_value_heads=shape.key_heads)
        )
    raise ValueError(f"unknown architecture {name!r}: opt, llama or rotary")
