"""A frozen base with LoRA modules put in by PEFT, from the package, a folder or a hub."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from safetensors import SafetensorError

from cllora.errors import UsageError, one_line
from cllora.model import attention
from cllora.model.device import settle
from cllora.model.memory import keep_freed_memory
from cllora.model.parts import ADAPTER, causal_of, is_tied, peft_parts, tie, write_in_once, write_out_ties
from cllora.model.positions import check_context, learned_positions, stretch_table, stretched_config
from cllora.model.source import gguf_file, or_shipped, where, where_tokenizer
from cllora.spec import LoraSpec, ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Base:
    """A PEFT model ready to train: base frozen, LoRA modules in float32, no dropout but LoRA's own.

    With `lora.train: full` it is the causal model itself. `spec` is what was asked for, `precision` and `device` what
    its `auto` came to.
    """

    model: Any
    spec: ModelSpec
    precision: str
    device: torch.device
    full_parameters: int
    fingerprint: str


def load_base(model: ModelSpec, lora: LoraSpec) -> Base:
    """Load the base, freeze it, and add LoRA.

    Raises:
        UsageError: the model cannot be found or read, is no causal language model, has fewer positions than
            `model.context` that are not interpolated, or has no module named in `lora.target_modules`.
    """
    place, (device, precision) = where(model.name), settle(model)
    transformers.utils.logging.disable_progress_bar()
    try:
        config = {"config": _stretched(model)} if model.stretched else {}
        base, found = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=DTYPES[precision], output_loading_info=True, **config
        )
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        what = f"cannot load the model '{model.name}'{or_shipped(model.name)}"
        raise UsageError(f"{what}: {one_line(error)}") from None
    if found["missing_keys"]:
        some = sorted(found["missing_keys"])[0]
        raise UsageError(
            f"the model '{model.name}' lacks {len(found['missing_keys'])} of its weights, such as {some}; "
            "choose a complete causal language model"
        )
    fingerprint = _fingerprint(base)
    if model.positions == "interpolate":
        if learned_positions(base) is None:
            raise UsageError(f"model.positions: '{model.name}' has no table of learned positions; leave it out")
        stretch_table(base, model.context)
    elif not model.stretched:
        check_context(base.config, model)
    full_parameters = sum(p.numel() for p in base.parameters())
    keep_freed_memory()
    take_packed_texts(base.eval().to(device), model.name)
    adapted = add_lora(base, lora, model.name)
    return Base(adapted, model, precision, torch.device(device), full_parameters, fingerprint)


def add_lora(base: Any, lora: LoraSpec, name: str) -> Any:
    """PEFT's LoRA on a causal model and the parts trained beside it, everything else frozen, all modules but LoRA's
    dropout in evaluation mode; with `lora.train: full` the model with nothing frozen.

    Dropout that the base's own config asks for (OPT: 0.1) stays off: it is noise on weights that do not learn.
    """
    if lora.train == "full":
        return base.requires_grad_(True).eval()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        **peft_parts(base, lora, name),
        use_rslora=lora.use_rslora,
        fan_in_fan_out=base.config.model_type == "gpt2",
    )
    try:
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that transformers 5 has renamed; nothing a user could act on.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")  # refused below, or tied
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to True")  # GPT-2's head is no Conv1D
            model = peft.get_peft_model(base, config)
    except ValueError as error:
        raise UsageError(f"lora.target_modules does not fit the model '{name}': {one_line(error)}") from None
    model.peft_config[ADAPTER].fan_in_fan_out = base.config.model_type == "gpt2"
    _check_targets(model, lora)
    tie(model)
    model.eval()
    return model


def _check_targets(model: Any, lora: LoraSpec) -> None:
    """Refuse LoRA where its layers are not ours: on anything but linear layers, and on an embedding or a head that
    `lora.train` did not put it on."""
    embedding, head = causal_of(model).get_input_embeddings(), causal_of(model).get_output_embeddings()
    asked = [embedding, head] if is_tied(causal_of(model)) else [embedding]
    asked = asked if lora.embedding_r is not None else []
    for place, module in model.named_modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer) or any(module is each for each in asked):
            continue
        if isinstance(module, peft.tuners.lora.Embedding):
            raise UsageError(
                f"lora.target_modules: LoRA on an embedding is not supported there; leave out {place}, "
                "or set lora.train to lora+embeddings and lora.embedding_r"
            )
        if not isinstance(module, peft.tuners.lora.Linear):
            raise UsageError(f"lora.target_modules: LoRA is supported on linear layers only; leave out {place}")
        if module is head:
            raise UsageError("lora.target_modules: LoRA on the model's head is not supported; leave the head out")


def save_adapter(base: Base, folder: Path) -> None:
    """Write the adapter that the model has, in PEFT's format; or, where every weight is trained, the whole model.

    Beside an adapter of a base with interpolated positions lies that base's `config.json`; beside one of a base from a
    GGUF file its tokenizer, which is in no folder that others have.
    """
    write_out_ties(base.model)
    if gguf_file(base.spec.name) is not None:
        transformers.AutoTokenizer.from_pretrained(where_tokenizer(base.spec.name)).save_pretrained(folder)
    if causal_of(base.model) is base.model:
        base.model.save_pretrained(folder)
        return
    base.model.save_pretrained(folder, save_embedding_layers=False)
    if base.spec.stretched:
        causal_of(base.model).config.save_pretrained(folder)


def save_merged(base: Base, folder: Path) -> None:
    """Write base and adapter as one plain model with its tokenizer, as `from_pretrained` reads it."""
    if causal_of(base.model) is base.model:
        base.model.save_pretrained(folder)
    else:
        write_in_once(base.model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Model with `tie_word_embeddings=True`")  # written in once
            merged = base.model.merge_and_unload()
        merged.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(where_tokenizer(base.spec.name)).save_pretrained(folder)


@torch.no_grad()
def take_packed_texts(model: Any, name: str) -> None:
    """Switch a model to packed attention, and see for itself that two packed texts are predicted as they are alone.

    Some architectures ignore transformers' attention interface, and would let packed texts see each other in silence;
    some change what comes out of their head.

    Raises:
        UsageError: they do.
    """
    texts = [torch.arange(4, 10), torch.arange(6, 10)]
    alone = torch.cat([model(input_ids=text[None].to(model.device), use_cache=False).logits[0] for text in texts])
    positions = torch.cat([torch.arange(len(text)) for text in texts])
    packing = attention.Packing.of_lengths(np.array([len(text) for text in texts]), model.device)
    row = {"input_ids": torch.cat(texts)[None].to(model.device), "position_ids": positions[None].to(model.device)}
    model.set_attn_implementation(attention.NAME)
    try:
        states = model.base_model(**row, packing=packing, use_cache=False).last_hidden_state[0]
    except TypeError:  # The model knows no such keyword.
        states = None
    except UsageError as error:
        raise UsageError(f"'{name}' ({model.config.model_type}): {error}") from None
    taken = states is not None and model.config._attn_implementation == attention.NAME
    if not taken or not _near(model(**row, packing=packing, use_cache=False).logits[0], alone):
        raise UsageError(
            f"'{name}' ({model.config.model_type}) does not use transformers' attention interface, so texts cannot be "
            "packed for it; choose another model, such as one of the OPT, Llama, Qwen, GPT-2 or GPT-NeoX families"
        )
    if not _near(model.get_output_embeddings()(states), alone):
        raise UsageError(
            f"'{name}' ({model.config.model_type}) scales or caps what comes out of its head, which is not supported; "
            "choose another model, such as one of the OPT, Llama, Qwen, GPT-2 or GPT-NeoX families"
        )


def _stretched(model: ModelSpec) -> Any:
    """The base's config with positions for `model.context` tokens, if it is loaded with them (rotary ones)."""
    config = transformers.AutoConfig.from_pretrained(where(model.name))
    check_context(config, model)
    return stretched_config(config, model)


def _fingerprint(model: Any) -> str:
    """A hash of some values of every parameter: enough to tell other weights under the same name."""
    found = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        found.update(f"{name} {tuple(parameter.shape)}".encode())
        found.update(flat[:: max(1, len(flat) // 256)].float().cpu().numpy().tobytes())
    return found.hexdigest()[:12]


def _near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    error = float((found - expected).float().norm() / expected.float().norm())
    return error < (1e-4 if expected.dtype == torch.float32 else 0.05)
