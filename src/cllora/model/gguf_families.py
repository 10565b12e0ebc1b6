"""The families that are read from GGUF files: what their metadata's keys mean, and which weights they have."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cllora.errors import UsageError
from cllora.model.gguf_fields import shown
from cllora.model.libraries import Config, Entries

if TYPE_CHECKING:
    from cllora.model.gguf_content import Content

ROTARY = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
HEAD = ("attention.key_length", "attention.value_length", "rope.dimension_count")
"""The keys that have to be as wide as a head: the whole of it is rotated."""
NO_MATTER = {
    "vocab_size": None,
    "expert_count": 0,
    "expert_used_count": 0,
    "rope.scaling.type": "none",
    "attention.causal": True,
}
"""Keys that change nothing at this value; None: at any."""
SIZES: dict[str, Callable[[Mapping[str, tuple[int, ...]]], int | None]] = {
    "block_count": lambda shapes: len({key.split(".")[1] for key in shapes if key.startswith("blk.")}) or None,
    "context_length": lambda shapes: shapes.get("position_embd.weight", (None,))[0],
    "embedding_length": lambda shapes: shapes.get("token_embd.weight", (None,))[-1],
    "feed_forward_length": lambda shapes: shapes.get("blk.0.ffn_up.weight", (None,))[0],
}
"""The values of keys that the weights show by themselves, None where they do not: nothing is built of a size that they
lack."""
ROPE_FACTORS = "rope_freqs.weight"
OUTSIDE = ("token_embd.weight", "output_norm.weight", "output.weight")
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
NORMS = ("attn_norm", "ffn_norm")


@dataclass(frozen=True)
class Family:
    """One architecture: transformers' name for it, its keys as config fields, and its weights.

    `inside` are the weights of every layer, `outside` those beside the layers; `head` says that the config has a field
    for the width of a head.
    """

    model_type: str
    keys: dict[str, str]
    inside: tuple[str, ...]
    outside: tuple[str, ...] = OUTSIDE
    head: bool = False


def _weights(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.weight" for name in names)


FAMILIES = {
    "llama": Family("llama", ROTARY, _weights(*LINEAR, *NORMS), (*OUTSIDE, ROPE_FACTORS), head=True),
    "qwen2": Family("qwen2", ROTARY, (*_weights(*LINEAR, *NORMS), "attn_q.bias", "attn_k.bias", "attn_v.bias")),
    "qwen3": Family("qwen3", ROTARY, _weights(*LINEAR, *NORMS, "attn_q_norm", "attn_k_norm"), head=True),
    "gpt2": Family(
        "gpt2",
        {
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "block_count": "n_layer",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        tuple(
            f"{name}.{kind}"
            for name in ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
            for kind in ("weight", "bias")
        ),
        (*OUTSIDE, "output_norm.bias", "position_embd.weight"),
    ),
}


def config_of(content: "Content", name: str) -> Config:
    """The config of transformers for a GGUF file's metadata.

    Raises:
        UsageError: a key is missing, or there is a key or a weight that this family is not known to have.
    """
    import transformers

    family, prefix = FAMILIES[content.architecture], f"{content.architecture}."
    values = {key.removeprefix(prefix): value for key, value in content.fields.items() if key.startswith(prefix)}
    lacking = [key for key in family.keys if key not in values and key != "attention.head_count_kv"]
    if lacking:
        raise UsageError(f"{name} does not say its {prefix}{lacking[0]}; choose another file")
    layers = values["block_count"]
    fields = {
        field: _number_for_all(values.pop(key), layers, f"{name}: {prefix}{key}")
        for key, field in family.keys.items()
        if key in values
    }
    for key, sized in SIZES.items():
        if sized(content.shapes) not in (None, size := fields[family.keys[key]]):
            raise UsageError(
                f"{name}: {prefix}{key} is {size}, but its weights are of {sized(content.shapes)}; choose another file"
            )
    if family.keys is ROTARY:
        fields |= _rotary(content, family, fields, values, name)
    elif fields["n_embd"] % fields["n_head"]:
        raise UsageError(
            f"{name}: {prefix}attention.head_count is {fields['n_head']}, which does not divide {fields['n_embd']}; "
            "choose another file"
        )
    for key, value in values.items():
        if key not in NO_MATTER or NO_MATTER[key] not in (None, value):
            raise UsageError(f"{name} has {prefix}{key} = {shown(value)}, which is not supported; choose another file")
    for tensor in content.shapes:
        if (
            not re.fullmatch(rf"blk\.\d+\.({'|'.join(map(re.escape, family.inside))})", tensor)
            and tensor not in family.outside
        ):
            raise UsageError(f"{name} has the weight {tensor}, which is not supported in {content.architecture} files")
    if "token_embd.weight" not in content.shapes:
        raise UsageError(f"{name} has no token_embd.weight; choose a whole file")
    rows = content.shapes["token_embd.weight"][0]
    tokens = content.fields["tokenizer.ggml.tokens"]
    if len(tokens) > rows:
        raise UsageError(f"{name} has {len(tokens):,} tokens, but an embedding of {rows:,}; choose another file")
    ids = {key: content.fields.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "padding")}
    return transformers.AutoConfig.for_model(
        family.model_type,
        vocab_size=rows,
        tie_word_embeddings="output.weight" not in content.shapes,
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["padding"],
        **fields,
    )


def _number_for_all(value: Any, layers: int, key: str) -> Any:  # Any: a number or a text, as the key has it
    """A number that is the same for all layers."""
    if isinstance(value, list):
        if len(value) != layers:
            raise UsageError(f"{key} has {len(value)} numbers for {layers} layers; choose another file")
        if len(set(value)) != 1:
            raise UsageError(f"{key} differs from layer to layer, which is not supported; choose another file")
        if ".head_count" in key:  # by which transformers turns the rows of queries and keys
            raise UsageError(
                f"{key} is {shown(value)}, and only one number for all layers is read; choose another file"
            )
        return value[0]
    return value


def _rotary(content: "Content", family: Family, fields: Entries, values: Entries, name: str) -> Entries:
    """The config's fields for heads and rotary positions."""
    heads, groups = fields["num_attention_heads"], fields.get("num_key_value_heads", fields["num_attention_heads"])
    key = f"{name}: {content.architecture}.attention.head_count"
    wide = content.shapes.get("blk.0.attn_q.weight", (fields["hidden_size"],))[0]
    width = wide // heads
    if wide % (2 * heads):
        raise UsageError(f"{key} is {heads}, which does not cut {wide} rows into even widths; choose another file")
    if heads % groups:
        raise UsageError(f"{key}_kv is {groups}, which does not divide {heads} heads; choose another file")
    keys = content.shapes.get("blk.0.attn_k.weight", (groups * width,))[0]
    if keys != groups * width:
        raise UsageError(
            f"{key}_kv is {groups}, but its keys have {keys} rows, not {groups * width}; choose another file"
        )
    for size in HEAD:
        if (given := values.pop(size, width)) != width:
            raise UsageError(
                f"{name}: {content.architecture}.{size} is {given}, not the width of its heads ({width}), which is not "
                "supported; choose another file"
            )
    if not family.head and width * heads != fields["hidden_size"]:
        raise UsageError(f"{name}: its heads are {width} wide, which {family.model_type} models cannot have")
    rope = {"rope_type": "default", "rope_theta": float(values.pop("rope.freq_base", 10000.0))}
    if ROPE_FACTORS in content.shapes:
        rope = _llama3(content, rope, width, name)
    more: Entries = {"rope_parameters": rope, "num_key_value_heads": groups}
    return more | ({"head_dim": width} if family.head else {})


def _llama3(content: "Content", rope: Entries, width: int, name: str) -> Entries:
    """The parameters of Llama 3's positions, which the file has as a factor for every frequency.

    All models of that family have the same but for the largest factor, so what they come to is held against the file's.
    """
    import numpy as np

    given = np.array(content.tensors[ROPE_FACTORS].data, np.float64).ravel()
    if not (np.isfinite(given) & (given >= 1)).all():
        raise UsageError(f"{name}: its rotary factors ({ROPE_FACTORS}) are not finite numbers from 1")
    scaling = {**rope, "rope_type": "llama3", "factor": float(given.max()), "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    wave = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    smooth = np.clip((8192 / wave - 1) / 3, 0, 1)
    expected = 1 / (smooth + (1 - smooth) / scaling["factor"])
    if given.shape != expected.shape or not np.allclose(given, expected, rtol=1e-3):
        raise UsageError(f"{name}: its rotary factors ({ROPE_FACTORS}) are not Llama 3's, which is not supported")
    return scaling
