"""A frozen base with LoRA modules put in by PEFT, from the package, a folder or a hub."""

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray

from cllora.errors import UsageError, one_line
from cllora.model.card import write_card
from cllora.model.compatible import check_config, check_is_base, check_loaded, check_passes
from cllora.model.device import settle
from cllora.model.dora import set_lengths
from cllora.model.fingerprint import fingerprint_of
from cllora.model.libraries import Adapted, Causal, Config
from cllora.model.machine import keep_freed_memory
from cllora.model.parts import ADAPTER, causal_of, is_tied, peft_parts, prepare_tied_merge, sync_tied_weights, tie
from cllora.model.positions import (
    check_context,
    is_rotary,
    lacks_positions,
    learned_positions,
    stretch_table,
    stretched_config,
)
from cllora.model.source import gguf_file, or_shipped, where, where_tokenizer
from cllora.model.start import ORIGIN, read_start
from cllora.model.targets import lora_targets
from cllora.model.text import text_config, text_parameters
from cllora.model.trial import enable_packed_attention, read_alone
from cllora.spec import LoraSpec, ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Base:
    """A PEFT model ready to train: base frozen, LoRA modules in float32, no dropout but LoRA's own.

    With `lora.train: full` it is the causal model itself. `spec` is what was asked for, `precision` and `device` what
    its `auto` came to. `fingerprint` is of the weights and the config. `start` are the tensors of the adapter at which
    training begins, by their names in PEFT's files, if there is one; `targets` the names of the modules that have LoRA.
    """

    model: Adapted
    spec: ModelSpec
    precision: str
    device: torch.device
    full_parameters: int
    fingerprint: str
    start: Mapping[str, NDArray[np.float32]] | None = None
    targets: tuple[str, ...] = ()


def load_base(model: ModelSpec, lora: LoraSpec) -> Base:
    """Load the base, freeze it, and add LoRA.

    Raises:
        UsageError: the model cannot be found or read, is no plain causal language model, has fewer positions than
            `model.context` that are not interpolated, lacks what `lora` names, or predicts packed texts otherwise.
    """
    place, (device, precision) = where(model.name), settle(model)
    transformers.utils.logging.disable_progress_bar()
    check_is_base(place, model.name)
    loaded = None
    try:
        config, loaded = _config(model, place)
        base, loading = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=DTYPES[precision], output_loading_info=True, config=loaded
        )
    except UsageError:
        raise
    except Exception as error:  # transformers and what it calls know many ways to say that they cannot
        check_is_base(place, model.name, look_further=True)
        raise UsageError(_cannot_load(model, loaded, error)) from error
    check_loaded(base, loading, model.name)
    fingerprint = fingerprint_of(config, base.state_dict().items())
    if model.positions == "interpolate":
        if learned_positions(base) is None:
            raise UsageError(f"model.positions: '{model.name}' has no table of learned positions; leave it out")
        stretch_table(base, model.context)
    elif not model.stretched:
        check_context(base.config, model, base)
    keep_freed_memory()
    full_parameters = sum(p.numel() for p in read_alone(base.eval().to(device), model.name).values())
    enable_packed_attention(base, model.name, model.context)
    adapted = add_lora(base, lora, model.name)
    start = None if lora.start is None else read_start(lora.start, adapted, model.name, fingerprint)
    targets = lora_targets(adapted)
    return Base(adapted, model, precision, torch.device(device), full_parameters, fingerprint, start, targets)


def add_lora(base: Causal, lora: LoraSpec, name: str) -> Adapted:
    """PEFT's LoRA on a causal model and the parts trained beside it, everything else frozen, all modules but LoRA's
    dropout in evaluation mode; with `lora.train: full` the model with nothing frozen.

    Dropout that the base's own config asks for (OPT: 0.1) stays off: it is noise on weights that do not learn.
    """
    if lora.train == "full":
        base.requires_grad_(False)
        for parameter in text_parameters(base).values():
            parameter.requires_grad_(True)
        return base.eval()
    parts = peft_parts(base, lora, name)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        **parts,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
    )
    try:
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that transformers 5 has renamed; nothing a user could act on.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")  # refused below, or tied
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to True")  # GPT-2's head is no Conv1D
            model = peft.get_peft_model(base, config)
    except (ValueError, TypeError) as error:
        raise UsageError(f"lora.target_modules does not fit the model '{name}': {one_line(error)}") from None
    model.peft_config[ADAPTER].fan_in_fan_out = parts["fan_in_fan_out"]
    _check_targets(model, lora)
    tie(model)
    set_lengths(model)
    model.eval()
    return model


def _check_targets(model: Adapted, lora: LoraSpec) -> None:
    """Refuse LoRA where its layers are not ours: on anything but linear layers, and on an embedding or a head that
    `lora.train` did not put it on."""
    embedding, head = causal_of(model).get_input_embeddings(), causal_of(model).get_output_embeddings()
    asked = [embedding, head] if is_tied(causal_of(model)) else [embedding]
    asked = asked if lora.embedding_r is not None else []
    for place, module in model.named_modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer) or any(module is module_asked for module_asked in asked):
            continue
        if isinstance(module, peft.tuners.lora.Embedding):
            raise UsageError(
                f"lora.target_modules: LoRA on an embedding is not supported there; leave out {place}, "
                "or set lora.train to lora+embeddings and lora.embedding_r"
            )
        if not isinstance(module, peft.tuners.lora.Linear):
            raise UsageError(
                f"lora.target_modules: PEFT makes of these names LoRA on {place} too, which is no linear layer and is "
                "not supported; name others"
            )
        if module is head:
            raise UsageError("lora.target_modules: LoRA on the model's head is not supported; leave the head out")


def save_adapter(base: Base, folder: Path) -> None:
    """Write the adapter that the model has, in PEFT's format; or, where every weight is trained, the whole model.

    Beside an adapter lies a model card; beside one of a base with interpolated positions that base's `config.json`;
    beside one of a base from a GGUF file its tokenizer, which is in no folder that others have.
    """
    sync_tied_weights(base.model)
    if gguf_file(base.spec.name) is not None:
        save_tokenizer(base, folder)
    if causal_of(base.model) is base.model:
        base.model.save_pretrained(folder)
        return
    base.model.create_or_update_model_card = lambda folder: None  # `write_card` writes one in place of PEFT's
    base.model.save_pretrained(folder, save_embedding_layers=False)
    trained = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
    config = base.model.peft_config[ADAPTER]
    write_card(folder, config, base.spec, base.fingerprint, (trained, base.full_parameters))
    origin = json.dumps({"base": base.spec.name, "base_fingerprint": base.fingerprint}, indent=2)
    (folder / ORIGIN).write_text(origin + "\n", encoding="utf-8")
    if base.spec.stretched:
        causal_of(base.model).config.save_pretrained(folder)


def save_tokenizer(base: Base, folder: Path, template: str | None = None) -> None:
    """Write the base's tokenizer, with a chat template in place of its own if one is given."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(where_tokenizer(base.spec.name))
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def save_merged(base: Base, folder: Path) -> None:
    """Write base and adapter as one plain model with its tokenizer, as `from_pretrained` reads it."""
    if causal_of(base.model) is base.model:
        base.model.save_pretrained(folder)
    else:
        prepare_tied_merge(base.model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Model with `tie_word_embeddings=True`")  # written in once
            merged = base.model.merge_and_unload()
        merged.save_pretrained(folder)
    save_tokenizer(base, folder)


def _config(model: ModelSpec, place: str) -> tuple[Config, Config]:
    """The base's config as it is, and the one with which it is loaded: with positions for `model.context` tokens."""
    config = transformers.AutoConfig.from_pretrained(place)
    check_config(config, model.name)
    check_passes(config, model.context, model.name)
    if model.stretched:
        check_context(config, model)
        return config, stretched_config(config, model)
    return config, copy.deepcopy(config)


def _cannot_load(model: ModelSpec, config: Config, error: Exception) -> str:
    """The error of a model that transformers does not load; `config` is None where it does not even read that."""
    problem = f"cannot load the model '{model.name}'{or_shipped(model.name)}"
    if isinstance(error, StrictDataclassError):  # which repeats the words of the error that it comes from
        reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
        return f"{problem}: its config is not valid ({one_line(reason)}); mend it, or choose another model"
    if config is not None and is_rotary(config) and lacks_positions(config):
        inner = text_config(config)
        mend = "choose another model"
        if getattr(inner, "head_dim", 0) is None:  # Mixtral's, from which transformers' yarn computes
            mend = f"set head_dim in its config.json to {inner.hidden_size // inner.num_attention_heads}"
        kind = inner.rope_parameters.get("rope_type", "default")
        return f"{problem}: transformers cannot compute its {kind} positions ({one_line(error, 120)}); {mend}"
    return f"{problem}: {f'{type(error).__name__} ' if isinstance(error, KeyError) else ''}{one_line(error)}"
