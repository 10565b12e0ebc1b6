"""Which models are compared: every family in its default shape, and the variants that its configs allow."""

from typing import Any

from configs import ORIGINAL, POSITIONS, WINDOW
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.5], "long_factor": [2.0, 3.0, 4.0, 5.0]}
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": ORIGINAL},
    "longrope": {"factor": 2.0, "original_max_position_embeddings": ORIGINAL, **FACTORS},
    "llama3": {
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
    },
    "proportional": {"factor": 2.0, "partial_rotary_factor": 0.5},
}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
DECODER = {"is_decoder": True}


def rope(kind: str) -> dict[str, Any]:
    """Changes to a config that give its rotary positions a type."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **ROPES[kind]}}


PHIMOE = rope("longrope")
PHIMOE["rope_parameters"] |= {"short_mscale": 1.1, "long_mscale": 1.3}
HALF = rope("dynamic")
HALF["rope_parameters"] |= {"partial_rotary_factor": 0.5}
SPARSE_BLOCKS = {"layer_types": ["full_attention", "minimax_m3_sparse"], "index_block_size": 4, "index_topk_blocks": 2}
_LOCAL = {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1}
_LOCAL |= {"layer_types": ["full_attention", "sliding_attention"]}
_MASKED = ("bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta")
_MASKED += ("roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod")
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "llama": {f"rope {kind}": rope(kind) for kind in ROPES}
    | {
        "tied": TIED,
        "biases": {"attention_bias": True, "mlp_bias": True},
        "one key-value head": {"num_key_value_heads": 1},
        "heads of their own size": {"head_dim": 16},
    },
    "qwen2": {
        "windows in some layers": _LOCAL,
        "tied": TIED,
        "rope yarn": rope("yarn"),
        "rope dynamic": rope("dynamic"),
    },
    "qwen3": {"windows in some layers": _LOCAL, "rope yarn": rope("yarn")},
    "mistral": {"no window": {"sliding_window": None}, "rope yarn": rope("yarn") | {"sliding_window": None}},
    "mixtral": {"no window": {"sliding_window": None}},
    "phi3": {
        "no window": {"sliding_window": None},
        "rope longrope": rope("longrope") | {"original_max_position_embeddings": ORIGINAL, "sliding_window": None},
        "a window": {"sliding_window": WINDOW},
    },
    "phimoe": {"rope longrope": PHIMOE},
    "minicpm3": {"rope longrope": rope("longrope")},
    "gpt_neox": {"one after the other": {"use_parallel_residual": False}, "rope dynamic": HALF},
    "phi": {"normalised queries": {"qk_layernorm": True}, "rope dynamic": rope("dynamic")},
    "stablelm": {"parallel": {"use_parallel_residual": True}, "normalised queries": {"qk_layernorm": True}},
    "persimmon": {"rope dynamic": rope("dynamic")},
    "gpt2": {
        "untied": UNTIED,
        "scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
        "upcast": {"reorder_and_upcast_attn": True},
        "unscaled": {"scale_attn_weights": False},
    },
    "gpt_bigcode": {"many key-value heads": {"multi_query": False}},
    "opt": {
        "350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
        "no biases": {"enable_bias": False, "layer_norm_elementwise_affine": False},
    },
    "falcon": {
        "alibi": {"alibi": True, "max_position_embeddings": POSITIONS},
        "new architecture": {"new_decoder_architecture": True},
        "one after the other": {"parallel_attn": False, "multi_query": False, "bias": True, "num_kv_heads": 4},
    },
    "mpt": {"clipped": {"attn_config": {"clip_qkv": 1.0}}},
    "olmo": {"clipped": {"clip_qkv": 1.0}},
    "olmoe": {"clipped": {"clip_qkv": 1.0}},
    "gemma2": {"no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None}},
    "gemma3_text": {"a cap on logits": {"final_logit_softcapping": 5.0}, "untied": UNTIED},
    "cohere": {"normalised queries": {"use_qk_norm": True}, "logits as they are": {"logit_scale": 1.0}},
    "deepseek_v2": {"queries in full": {"q_lora_rank": None}, "rope yarn": rope("yarn")},
    "deepseek_v3": {"queries in full": {"q_lora_rank": None}, "rope yarn": rope("yarn")},
    "granitemoehybrid": {"attention alone": {"layer_types": ["attention", "attention"], "num_local_experts": 0}},
    "gpt_oss": {"no windows": {"layer_types": ["full_attention", "full_attention"]}},
    "lfm2": {"convolutions": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}},
    "starcoder2": {"a window": {"sliding_window": WINDOW}},
    "granite": {
        "plain": dict.fromkeys(
            ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"), 1.0
        )
    },
    "smollm3": {"windows in some layers": _LOCAL},
    "minimax_m3_vl_text": {"sparse": SPARSE_BLOCKS},
    "xglm": {"untied": UNTIED},
    "ctrl": {"untied": UNTIED},
    "nanochat": {"no cap": {"final_logit_softcapping": None}},
} | {name: {"decoder": DECODER} for name in _MASKED}


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every case by its name, `family` or `family, variant`, with its family and the changes to its config."""
    variants: dict[str, tuple[str, dict[str, Any]]] = {}
    for family in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        variants[family] = (family, {})
        for variant, changes in VARIANTS.get(family, {}).items():
            variants[f"{family}, {variant}"] = (family, changes)
    return variants
