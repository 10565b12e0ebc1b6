"""Tiny configs of every family: transformers' own defaults with small numbers in place of large ones.

What makes a family what it is (kinds of layers, scales, caps, windows, experts, ties) stays as its defaults have it.
"""

import re
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

VOCABULARY = 300
POSITIONS, ORIGINAL, CHUNK, SPARSE, WINDOW = 64, 32, 24, 20, 16
"""Positions of a model, those it was pretrained at before they were stretched, and how many tokens its chunked, its
sparse and its local layers see."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
LAYERS += ("encoder_layers", "num_encoder_layers", "num_blocks", "depth")

SMALL: tuple[tuple[str, Any], ...] = (
    (r"(text_|decoder_|tgt_|src_|unpadded_)?vocab_size|n_vocab|vocab_size_per_layer_input", VOCABULARY),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|seq_length", POSITIONS),
    (r"max_target_positions|max_source_positions|context_length", POSITIONS),
    (r"original_max_position_embeddings|floor_scale|log_scaling_n_floor", ORIGINAL),
    (r"attention_chunk_size", CHUNK),
    (r"sliding_window(_size)?|local_attention(_window_len)?|attention_window_size|keep_window_size", WINDOW),
    (r"hidden_size|d_model|n_embd|dim|emb_dim|model_dim|word_embed_proj_dim|embedding_(size|dim)|lru_width", 32),
    (r"(input|output)_embedding_size|text_hidden_size|out_hidden_size|backbone_hidden_size|hidden_size_global", 32),
    (r"attention_hidden_size|vision_output_dim|projector_(input|output)_dim|attn_size", 32),
    (r"(swa_)?head_dim|d_head|dim_head|d_kv|kv_channels|(global|linear|lightning)_head_dim|attention_head_size", 8),
    (r"(qk_nope|qk_rope|v|qk|swa_v|linear_(key|value)|index)_head_dim|mamba_(d_head|head_?dim)|d_rel", 8),
    (r"query_pre_attn_scalar", 8),
    (r"rotary_dim", 4),
    (r"attention_head_dim", 16),
    (r"(q|kv|index_q|o)_lora_rank|laurel_rank|adapter_rank|hc_lowrank|gated_norm_rank|router_hidden_size", 8),
    (r"(\w+_)?(intermediate|ffn_hidden|inner)_(size|dim)(_mlp)?|n_inner|ffn_dim|dim_ff|dff|d_ff|feed_forward_size", 64),
    (r"encoder_ffn_dim|decoder_ffn_dim|d_inner|ffn_hidden_size|shared_experts_intermediate_size|mlp_dim", 64),
    (r"((swa_|encoder_|decoder_|num_|num_decoder_|num_encoder_|swa_num_)?attention_heads)|n_heads?|num_heads", 4),
    (
        r"(swa_)?num_key_value_heads|num_kv_heads|kv_n_heads|linear_num_(key_|value_)?heads|num_global_key_value_heads",
        2,
    ),
    (r"index_n_heads|num_query_groups", 2),
    (r"num_(local_|routed_)?experts|n_routed_experts|moe_num_experts|num_expert|zero_expert_num", 4),
    (r"num_experts_per_tok(en)?|moe_top_?k|moe_k|top_k|num_selected_experts|top_k_experts", 2),
    (r"n_group|topk_group|num_expert_group|n_expert_groups", 1),
    (r"(n|num|moe_num)_shared_experts", 1),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"hidden_size_per_layer_input|ple_embed_dim", 8),
    (r"(mamba_)?(d_)?state_size|ssm_state_size|mamba_d_state|state_size", 8),
    (r"mamba_n_heads|mamba_num_heads", 8),
    (r"n_groups|mamba_n_groups|mamba_ngroups|time_step_rank|mamba_dt_rank", 2),
    (r"(mamba_)?chunk_size", 16),
    (r"index_topk", SPARSE),
)
TOKENS = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}


def tiny(model_type: str, changes: dict[str, Any] | None = None) -> PretrainedConfig:
    """A config of a family for a model of some ten thousand weights.

    `changes` are fields and their values, by dotted paths where they are of a config within; a value None that is to
    be passed is passed.
    """
    config = CONFIG_MAPPING[model_type]
    fields = _small(config())
    for path, value in (OVERRIDES.get(model_type, {}) | (changes or {})).items():
        *outer, name = path.split(".")
        place = fields
        for step in outer:
            place = place.setdefault(step, {})
        if value is LEFT_OUT:
            place.pop(name, None)
        else:
            place[name] = value
    return config(**fields)


def _small(config: PretrainedConfig) -> dict[str, Any]:
    """The fields of a config that are to be small, and its special tokens."""
    fields: dict[str, Any] = {}
    chosen = _chosen_layers(config)
    depth = _depth(config)
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            fields[name] = _small(value)
        elif name in TOKENS:
            fields[name] = TOKENS[name]
        elif re.fullmatch(r"\w+_token_(id|index)|\w+_index", name) and isinstance(value, int):
            fields[name] = min(value, 3)
        elif name in LAYERS and isinstance(value, int):
            fields[name] = len(chosen)
        elif isinstance(value, list | tuple) and depth and len(value) == depth:
            fields[name] = [value[layer] for layer in chosen]
        elif name == "rope_parameters" and isinstance(value, dict):
            fields[name] = _short_rope(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
            small = next((number for rule, number in SMALL if re.fullmatch(rule, name)), None)
            fields.update({} if small is None else {name: min(small, value)})
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:  # Latent attention has one key per head.
        fields["num_key_value_heads"] = fields["num_attention_heads"]
    return fields


def _short_rope(rope: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _short_rope(value)
        if isinstance(value, dict)
        else ORIGINAL
        if name == "original_max_position_embeddings"
        else value
        for name, value in rope.items()
    }


def _depth(config: PretrainedConfig) -> int:
    return next((getattr(config, name) for name in LAYERS if isinstance(vars(config).get(name), int)), 0)


def _chosen_layers(config: PretrainedConfig) -> list[int]:
    """The first layer of each kind that the default config has, at least two and at most four."""
    depth = _depth(config)
    lists = [value for value in vars(config).values() if isinstance(value, list | tuple) and len(value) == depth]
    kinds = [tuple(str(kinds_of_layers[layer]) for kinds_of_layers in lists) for layer in range(depth)]
    first = sorted({kinds.index(kind) for kind in kinds})[:4]
    return first if len(first) > 1 else [0, 1]


LEFT_OUT = object()
_KV_SHARED = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
}
_GEMMA3N = _KV_SHARED | {"intermediate_size": [64] * 4, "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0]}
_MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8}
_ZAMBA = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"]}
_MUSICGEN = {"decoder.num_hidden_layers": 2, "decoder.dropout": 0.0}
_QWEN4 = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": SPARSE,
    "indexer_compress_ratio": 4,
    "output_gate_type": "sigmoid",
    "ngram_vocab_size_base": 1000,
    "split_ngram_parts": 1,
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "logit_scale": 0.5,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("sliding_attention", "full_attention")
        },
    },
    "dbrx": {"attn_config.rope_theta": 10000.0, "attn_config.clip_qkv": 8.0},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note": {
        f"{part}_config.{name}": 32
        for part in ("vision", "audio")
        for name in ("adapter_in_dim", "adapter_input_size", "adapter_out_dim")
    },
    "falcon_h1": _MAMBA,
    "gemma3n_text": _GEMMA3N,
    "gemma4_text": _KV_SHARED,
    "gemma4_unified_text": _KV_SHARED,
    "granite": {
        "embedding_multiplier": 2.0,
        "logits_scaling": 4.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.2,
    },
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "lfm2_moe": {
        "num_hidden_layers": 4,
        "layer_types": ["conv", "full_attention"] * 2,
    },
    "llama4_text": {"moe_layers": [1], "interleave_moe_layer_step": LEFT_OUT},
    "longcat_flash": {"qk_head_dim": 16},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "musicgen": _MUSICGEN,
    "musicgen_melody": _MUSICGEN,
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": _QWEN4,
    "qwen4_exp": {f"text_config.{name}": value for name, value in _QWEN4.items()},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "num_hidden_layers": 2,
        "attn_layers": ["local", "lsh"],
    },
    "roc_bert": {
        "pronunciation_vocab_size": 300,
        "shape_vocab_size": 300,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": _ZAMBA | {"attention_hidden_size": 64},
    "zamba2": _ZAMBA
    | {"mamba_headdim": 8, "n_mamba_heads": 8, "attention_hidden_size": 64, "hybrid_layer_ids": [1, 3]},
    "blt": {"encoder_hash_byte_group_vocab": 300},
}
for _name in (
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "camembert",
    "data2vec-text",
    "prophetnet",
):
    # Positions begin behind that of padding.
    OVERRIDES[_name] = OVERRIDES.get(_name, {}) | {"max_position_embeddings": POSITIONS + 4}
for _name in ("granitemoe", "granitemoeshared", "granite_swa", "granitemoe_swa", "granitemoehybrid"):
    OVERRIDES[_name] = OVERRIDES["granite"]
