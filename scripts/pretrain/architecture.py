"""What is trained: the one place that knows the architectures."""

from __future__ import annotations

from tokens import CONTEXT, PAD_ID, START_ID, VOCABULARY
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel


def untrained(name: str) -> PreTrainedModel:
    """Return a freshly initialised model of about five million parameters, its head tied to its embedding."""
    shared = {
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": START_ID,
        "eos_token_id": START_ID,
        "pad_token_id": PAD_ID,
        "tie_word_embeddings": True,
    }
    if name == "opt":
        return OPTForCausalLM(
            OPTConfig(**shared, ffn_dim=1024, word_embed_proj_dim=256, do_layer_norm_before=True, dropout=0.0)
        )
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**shared, intermediate_size=704))
    raise ValueError(f"unknown architecture {name!r}: opt or llama")
