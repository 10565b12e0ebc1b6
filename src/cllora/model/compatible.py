"""Checks of a base: a whole, plain causal language model that predicts a text the same alone and packed.

What its config says is read before its weights are, and what that cannot tell is tried when it is loaded.
"""

import json
import logging
import re
from pathlib import Path

import numpy as np
import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.peft_utils import find_adapter_config_file

from cllora.errors import UsageError
from cllora.model.libraries import Causal, Config, Entries
from cllora.model.text import text_config
from cllora.types import Samples

log = logging.getLogger("cllora")

FAMILIES = "such as one of the OPT, Llama, Qwen, GPT-2 or GPT-NeoX families"
OTHER_TASKS = re.compile(r".*For(\w*Classification|QuestionAnswering|MultipleChoice|MaskedLM|RewardModel\w*)$")
"""Architectures of checkpoints whose head was trained for something else than the next token."""
NOT_PLAIN = {
    r"lora_|modules_to_save|base_layer|\bia3_|\boft_|\bhada_|\blokr_|\bvera_|prompt_encoder|prompt_embeddings": (
        "an adapter's too",
        "merge them into the model, or save the adapter by itself and name its folder in lora.start",
    ),
    r"scale_inv|weight_scale|input_scale|\bSCB\b|qweight|qzeros|g_idx|absmax|quant_state|\bscales$": (
        "scales of quantised ones too",
        "choose the model that it was made of",
    ),
}
"""Names of weights that a plain model has no use for, and what they say of those that it takes."""
BY_LONGEST = ("dynamic", "longrope")
"""Rotary positions whose frequencies depend on the longest text of a pass."""


def check_is_base(place: str, name: str, look_further: bool = False) -> None:
    """Refuse a folder that holds an adapter: transformers would put it on its base, or part of it, in silence.

    Args:
        look_further: whether to look on the hub too, and in what was kept of it.

    Raises:
        UsageError: it does; the line says which base the adapter is of.
    """
    file = Path(place) / "adapter_config.json"
    if look_further and not Path(place).is_dir():
        file = Path(find_adapter_config_file(place) or file)
    if not file.is_file():
        return
    try:
        base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") or "its base"
    except (OSError, ValueError, AttributeError):
        base = "its base"
    raise _is_adapter(name, base)


def check_config(config: Config, name: str) -> None:
    """Refuse by its config what cannot be trained here: quantised weights, or a head for another task.

    Raises:
        UsageError: it is one of these.
    """
    both = (getattr(part, "quantization_config", None) for part in (config, text_config(config)))
    quantised = next((held for held in both if held is not None), None)
    if quantised is not None:
        fields = quantised if isinstance(quantised, dict) else getattr(quantised, "to_dict", dict)()
        how = fields.get("quant_method") or "a way that it does not name"
        raise UsageError(
            f"the model '{name}' is quantised ({getattr(how, 'value', how)}), and its weights have to be plain; choose "
            "the model that it was made of, or a .gguf file, which is dequantised"
        )
    of_task = [name for name in getattr(config, "architectures", None) or () if OTHER_TASKS.fullmatch(name)]
    if of_task:
        raise UsageError(
            f"the model '{name}' is no language model but a {of_task[0]}; choose the causal model that it was made of"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UsageError(
            f"the model '{name}' ({config.model_type}) is no causal language model of transformers; choose another"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"the model '{name}' ({config.model_type}) has an encoder; choose a causal language model")


def check_loaded(base: Causal, loading: Entries, name: str) -> None:
    """Refuse a base with an adapter on it, with weights missing, or with an adapter's among those that were not used.

    Raises:
        UsageError: it is one of these.
    """
    if getattr(base, "_hf_peft_config_loaded", False):
        raise _is_adapter(name, getattr(base, "name_or_path", None) or "its base")
    if loading["missing_keys"]:
        matching = sorted(loading["missing_keys"])[0]
        raise UsageError(
            f"the model '{name}' lacks {len(loading['missing_keys'])} of its weights, such as {matching}; "
            "choose a complete causal language model"
        )
    unused = sorted(loading.get("unexpected_keys") or ())
    for pattern, (kind, mend) in NOT_PLAIN.items():
        matching = [key for key in unused if re.search(pattern, key)]
        if matching:
            raise UsageError(
                f"the weights of '{name}' hold {kind}, such as {matching[0]}, which would be left out; {mend}"
            )
    if unused:
        log.warning("%s weights of '%s' are not used, such as %s", f"{len(unused):,}", name, unused[0])
    broken = next((key for key, weight in base.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken is not None:
        raise UsageError(
            f"the weights of '{name}' hold numbers that are not finite, such as in {broken}; choose another"
        )
    if base.get_output_embeddings() is None or base.get_input_embeddings() is None:
        raise UsageError(f"the model '{name}' ({base.config.model_type}) has no head over its tokens; choose another")


def check_passes(config: Config, context: int, name: str) -> None:
    """Refuse a context at which a text's positions depend on the longest text beside it.

    Raises:
        UsageError: rotary positions change beyond a length, and texts may be longer.
    """
    inner = text_config(config)
    for rope in _ropes(inner):
        kind = rope.get("rope_type", rope.get("type"))
        limits = (getattr(inner, f"{prefix}max_position_embeddings", None) for prefix in ("original_", ""))
        limit = next((length for length in (rope.get("original_max_position_embeddings"), *limits) if length), None)
        if kind in BY_LONGEST and limit is not None and context > limit:
            raise UsageError(
                f"model.context is {context}, but the positions of '{name}' ({kind}) change for all texts of a pass in "
                f"which one is longer than {limit} tokens; set model.context to {limit} or less"
            )


def check_tokens(samples: Samples, model: Causal, name: str) -> None:
    """Refuse texts with tokens that the base does not know.

    Raises:
        UsageError: a token has no row in the base's embedding: the tokenizer is larger, or another model's.
    """
    rows = len(model.get_input_embeddings().weight)
    largest = int(samples.once("largest token", lambda: np.array([samples.tokens.max(initial=0)]))[0])
    if largest >= rows:
        sample = int(np.searchsorted(samples.offsets, np.argmax(samples.tokens >= rows), side="right")) - 1
        raise UsageError(
            f"the tokenizer of '{name}' is larger than its embedding, which has {rows:,} rows: text {sample} holds "
            f"token {largest:,}; take the tokenizer that belongs to the model, or resize the model's embedding"
        )


def _ropes(config: Config) -> list[Entries]:
    """Every set of rotary parameters: one, or one for each kind of layer."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]
    return nested or [rope]


def _is_adapter(name: str, base: str) -> UsageError:
    return UsageError(
        f"the model '{name}' is an adapter, not a base; set model.name to {base}, and lora.start to {name} to go on "
        "from it"
    )
