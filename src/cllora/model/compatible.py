"""What a base must be: a whole, plain causal language model whose texts come to the same alone and in company.

What its config says is read before its weights are, and what that cannot tell is tried when it is loaded.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

from cllora.errors import UsageError, one_line
from cllora.model import attention
from cllora.model.text import text_config, text_parameters
from cllora.types import Samples

FAMILIES = "such as one of the OPT, Llama, Qwen, GPT-2 or GPT-NeoX families"
OTHER_TASKS = re.compile(r".*For(\w*Classification|QuestionAnswering|MultipleChoice|MaskedLM|RewardModel\w*)$")
"""Architectures of checkpoints whose head was trained for something else than the next token."""
OF_LENGTH = re.compile(r"position|window|chunk|length|seq_len|context")
"""Names of whole numbers in a config that may be a number of tokens from which on something else is computed."""
BY_LONGEST = ("dynamic", "longrope")
"""Rotary positions whose frequencies depend on the longest text of a pass."""
SHORT = (6, 4)
BEYOND = 64
"""Tokens of the texts that are tried, and how far beyond a length in the config the longer of two goes."""
ANYWAY = 256
"""Up to this context, where it costs little, a text as long as the context is tried whatever the config says."""


def check_is_base(place: str, name: str) -> None:
    """Refuse a folder that holds an adapter: transformers would put it on its base, or part of it, in silence.

    Raises:
        UsageError: it does; the line says which base the adapter is of.
    """
    file = Path(place) / "adapter_config.json"
    if not file.is_file():
        return
    try:
        base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") or "its base"
    except (OSError, ValueError, AttributeError):
        base = "its base"
    raise _is_adapter(name, base)


def check_config(config: Any, name: str) -> None:
    """Refuse by its config what cannot be trained here: quantised weights, or a head for another task.

    Raises:
        UsageError: it is one of these.
    """
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        fields = quantised if isinstance(quantised, dict) else quantised.to_dict()
        how = fields.get("quant_method") or "a way that it does not name"
        raise UsageError(
            f"the model '{name}' is quantised ({getattr(how, 'value', how)}), and its weights have to be plain; choose "
            "the model that it was made of, or a .gguf file, which is dequantised"
        )
    others = [each for each in getattr(config, "architectures", None) or () if OTHER_TASKS.fullmatch(each)]
    if others:
        raise UsageError(
            f"the model '{name}' is no language model but a {others[0]}; choose the causal model that it was made of"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UsageError(
            f"the model '{name}' ({config.model_type}) is no causal language model of transformers; choose another"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"the model '{name}' ({config.model_type}) has an encoder; choose a causal language model")


def check_loaded(base: Any, found: dict[str, Any], name: str) -> None:
    """Refuse a base with an adapter on it, with weights missing, or with an adapter's among those that were not used.

    Raises:
        UsageError: it is one of these.
    """
    if getattr(base, "_hf_peft_config_loaded", False):
        raise _is_adapter(name, getattr(base, "name_or_path", None) or "its base")
    if found["missing_keys"]:
        some = sorted(found["missing_keys"])[0]
        raise UsageError(
            f"the model '{name}' lacks {len(found['missing_keys'])} of its weights, such as {some}; "
            "choose a complete causal language model"
        )
    adapters = sorted(key for key in found.get("unexpected_keys") or () if "lora_" in key)
    if adapters:
        raise UsageError(
            f"the weights of '{name}' hold an adapter's too, such as {adapters[0]}, which would be left out; "
            "merge them into the model, or save the adapter by itself and name its folder in lora.start"
        )
    if base.get_output_embeddings() is None or base.get_input_embeddings() is None:
        raise UsageError(f"the model '{name}' ({base.config.model_type}) has no head over its tokens; choose another")


def check_passes(config: Any, context: int, name: str) -> None:
    """Refuse a context at which a text's positions depend on the longest text beside it.

    Raises:
        UsageError: rotary positions change beyond a length, and texts may be longer.
    """
    inner = text_config(config)
    for rope in _ropes(inner):
        kind = rope.get("rope_type", rope.get("type"))
        limits = (getattr(inner, f"{which}max_position_embeddings", None) for which in ("original_", ""))
        limit = next((each for each in (rope.get("original_max_position_embeddings"), *limits) if each), None)
        if kind in BY_LONGEST and limit is not None and context > limit:
            raise UsageError(
                f"model.context is {context}, but the positions of '{name}' ({kind}) change for all texts of a pass in "
                f"which one is longer than {limit} tokens; set model.context to {limit} or less"
            )


def read_alone(model: Any, name: str) -> dict[str, torch.nn.Parameter]:
    """The parameters that a text meets in a model, which has to be able to read one.

    Raises:
        UsageError: it cannot.
    """
    try:
        return text_parameters(model)
    except Exception as error:
        raise UsageError(
            f"'{name}' ({model.config.model_type}) cannot read a text alone ({type(error).__name__}: "
            f"{one_line(error, 160)}); choose another model, {FAMILIES}"
        ) from error


@torch.no_grad()
def take_packed_texts(model: Any, name: str, context: int) -> None:
    """Switch a model to packed attention, and see for itself that packed texts are predicted as they are alone.

    Some architectures ignore transformers' attention interface, and would let packed texts see each other in silence;
    some change what comes out of their head; and in some a text depends on how long its company is. So texts on both
    sides of every length that the config names, up to the context, are predicted alone and packed.

    Raises:
        UsageError: the model does not take packed texts, or what it says of them is something else.
    """
    family = f"'{name}' ({model.config.model_type})"
    tried, rows = zip(*_companies(model, context), strict=True)
    try:
        alone = [[_alone(model, text) for text in texts] for texts in rows]
        model.set_attn_implementation(attention.NAME)
        taken = text_config(model.config)._attn_implementation == attention.NAME
        packed = _all_packed(model, rows) if taken else None
    except UsageError as error:
        raise UsageError(f"{family}: {error}") from None
    except Exception as error:
        raise UsageError(
            f"{family} does not take packed texts ({type(error).__name__}: {one_line(error, 160)}); "
            f"choose another model, {FAMILIES}"
        ) from error
    if packed is None or not _near([packed[0][1]], [torch.cat([logits for _, logits in alone[0]])]):
        raise UsageError(
            f"{family} predicts packed texts otherwise than alone: it sees both sides of a token, or does not use "
            f"transformers' attention interface; choose another model, {FAMILIES}"
        )
    if not _near([packed[0][2]], [packed[0][1]]):
        raise UsageError(
            f"{family} has a head that is not one matrix alone: it scales, caps or transforms what goes through it, "
            "which is not supported; "
            f"choose another model, {FAMILIES}"
        )
    for limit, texts, found, expected in zip(tried, rows, packed, alone, strict=True):
        pieces = torch.split(found[0], [len(text) for text in texts])
        if not _near(pieces, [states for states, _ in expected]):
            raise UsageError(
                f"{family} predicts texts otherwise alone than beside one of over {limit} tokens, which is a length in "
                f"its config; set model.context to {limit} or less, or choose another model, {FAMILIES}"
            )


def check_tokens(samples: Samples, model: Any, name: str) -> None:
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


def _companies(model: Any, context: int) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Texts that are packed together: two short ones; then, for each length in the config, one as long and one that is
    longer, each beside short ones. With each the length that it is to try."""
    config, rows = text_config(model.config), len(model.get_input_embeddings().weight)
    yield min(SHORT), [torch.arange(4, 4 + SHORT[0]) % rows, torch.arange(6, 6 + SHORT[1]) % rows]
    # An id that stands for an image or the like would call for one.
    special = {value for key, value in _entries(model.config.to_dict()) if "token" in key and isinstance(value, int)}
    plain = np.setdiff1d(np.arange(rows), list(special))
    lengths = lengths_in(config, context)
    if context <= ANYWAY:
        lengths.append(context)
    for length in lengths:
        for size in sorted({length, min(length + BEYOND, context)}):
            draw = np.random.default_rng(size)
            yield length, [torch.from_numpy(draw.choice(plain, each)) for each in (SHORT[0], size, SHORT[1])]


def lengths_in(config: Any, context: int) -> list[int]:
    """The lengths below a context at which a config says that something changes, ascending."""
    found = set()
    for key, value in _entries(config.to_dict()):
        if OF_LENGTH.search(key) and isinstance(value, int) and not isinstance(value, bool) and 2 <= value < context:
            found.add(value)
    return sorted(found)


def _entries(fields: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a config and of what is nested in it."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _entries(value)
        else:
            yield str(key), value


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Every set of rotary parameters: one, or one for each kind of layer."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]
    return nested or [rope]


def _alone(model: Any, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model's backbone makes of a text (N, D), and the logits of a short one (N, V)."""
    row = text[None].to(model.device)
    states = _states(model, input_ids=row, use_cache=False)
    logits = model(input_ids=row, use_cache=False).logits[0] if len(text) <= max(SHORT) else states[:0]
    return states, logits


def _packed(model: Any, texts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of texts in one row: states (N, D), and where all are short logits (N, V) as the model gives them and as
    its head alone does."""
    lengths = np.array([len(text) for text in texts])
    positions = torch.cat([torch.arange(len(text)) for text in texts])
    row = {
        "input_ids": torch.cat(list(texts))[None].to(model.device),
        "position_ids": positions[None].to(model.device),
        "packing": attention.Packing.of_lengths(lengths, model.device),
        "use_cache": False,
    }
    states = _states(model, **row)
    if max(lengths) > max(SHORT):
        return states, states[:0], states[:0]
    return states, model(**row).logits[0], model.get_output_embeddings()(states)


def _states(model: Any, **row: Any) -> torch.Tensor:
    """What the backbone makes of a row (N, D), from which the head predicts."""
    states = getattr(model.base_model(**row), "last_hidden_state", None)
    if states is None:
        raise UsageError(f"its backbone returns no hidden states to predict from; choose another model, {FAMILIES}")
    row_of_states: torch.Tensor = states[0]
    return row_of_states


def _all_packed(
    model: Any, rows: Sequence[Sequence[torch.Tensor]]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """`_packed` of every row; None of a model that knows no such keyword."""
    try:
        return [_packed(model, texts) for texts in rows]
    except TypeError as error:
        if "packing" in str(error):
            return None
        raise


def _near(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    """Whether each of some tensors (N, D) is the other but for rounding, in all and at its worst token."""
    for one, other in zip(found, expected, strict=True):
        error, size = ((one - other).float().norm(dim=-1), other.float().norm(dim=-1))
        in_all, at_worst = (1e-4, 1e-3) if other.dtype == torch.float32 else (0.05, 0.25)
        if not (error.norm() / size.norm() < in_all and error.max() / size.square().mean().sqrt() < at_worst):
            return False
    return True


def _is_adapter(name: str, base: str) -> UsageError:
    return UsageError(
        f"the model '{name}' is an adapter, not a base; set model.name to {base}, and lora.start to {name} to go on "
        "from it"
    )
