"""The parts trained beside LoRA: norms, embeddings, learned positions; or, instead of it, every weight.

PEFT has the parts as `modules_to_save` (whole modules), `trainable_token_indices` (rows of the embedding) and LoRA on
the embedding. A head that shares its weight with the embedding keeps sharing it, however the embedding is trained: what
changes in the one changes in the other.
"""

import copy
import functools
import math

import torch
from peft import PeftModel
from peft.tuners.lora import Embedding, LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils import ModulesToSaveWrapper
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from torch.nn import functional as F

from cllora.errors import UsageError
from cllora.model.libraries import Adapted, Causal, Entries, Layer
from cllora.model.positions import learned_positions
from cllora.model.targets import saved_modules, target_fields
from cllora.model.text import path_of, text_config, text_modules
from cllora.spec import LoraSpec
from cllora.types import Layout

ADAPTER = "default"  # PEFT's name for the one adapter that a model has


def causal_of(model: Adapted) -> Causal:
    """The causal model inside a PEFT model; or the model itself, where all of it is trained."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_tied(causal: Causal) -> bool:
    """Whether a causal model's head and its embedding are one weight."""
    return causal.get_output_embeddings().weight is causal.get_input_embeddings().weight


def peft_parts(base: Causal, lora: LoraSpec, name: str) -> Entries:
    """The fields of PEFT's `LoraConfig` that say which modules have LoRA and which parts are trained beside it.

    Raises:
        UsageError: the model has no such part.
    """
    fields = target_fields(base, lora, name)
    saved = _norms(base, name) if "norms" in lora.parts else []
    if "positions" in lora.parts:
        table = learned_positions(base)
        if table is None:
            raise UsageError(f"lora.train: '{name}' has no learned positions to train; leave positions out")
        saved.append(path_of(base, table))
    if "embeddings" in lora.parts:
        embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
        both = [path_of(base, module) for module in ([embedding, head] if is_tied(base) else [embedding])]
        if lora.embedding_rows is not None:
            if len(both) == 1 and getattr(text_config(base.config), "tie_word_embeddings", False):
                raise UsageError(
                    f"lora.embedding_rows: the config of '{name}' says that its head and its embedding are one "
                    "weight, and its files have two; set tie_word_embeddings to false there, or leave the rows out"
                )
            if max(lora.embedding_rows) >= len(embedding.weight):
                raise UsageError(f"lora.embedding_rows: '{name}' has {len(embedding.weight)} tokens, counted from 0")
            fields["trainable_token_indices"] = {both[0]: list(lora.embedding_rows)}
        elif lora.embedding_r is not None:
            if isinstance(fields["target_modules"], str):
                raise UsageError("lora.embedding_r goes with names in lora.target_modules, not with a regex")
            fields["target_modules"] = [*fields["target_modules"], *both]
            fields["rank_pattern"] = dict.fromkeys(both, lora.embedding_r)
        else:
            saved += both
        # Rows are tied by PEFT itself; of the other ways it must be told, and knows embeddings by name.
        by_name = both[0].rpartition(".")[2] in EMBEDDING_LAYER_NAMES
        fields["ensure_weight_tying"] = len(both) > 1 and by_name and lora.embedding_rows is None
    asked = saved_modules(base, lora, name)
    # A path in a module that is trained whole is trained with it.
    saved = [path for path in saved if not any(path.startswith(f"{path_asked}.") for path_asked in asked)]
    saved = list(dict.fromkeys([*saved, *asked]))
    return fields | {"modules_to_save": saved or None}


def tie(model: Adapted) -> None:
    """Tie a PEFT model's trained head to its trained embedding, where the base's are tied.

    PEFT gives each a copy of its own, which in its files stand side by side, equal.
    """
    if not _was_tied(model):
        return
    causal = causal_of(model)
    embedding, head = causal.get_input_embeddings(), causal.get_output_embeddings()
    if isinstance(embedding, ModulesToSaveWrapper) and isinstance(head, ModulesToSaveWrapper):
        head.modules_to_save[ADAPTER].weight = embedding.modules_to_save[ADAPTER].weight
    if isinstance(embedding, Embedding) and isinstance(head, LoraLayer):
        for matrix in (head.lora_A, head.lora_B):
            matrix.requires_grad_(False)
        head.forward = functools.partial(_head_as_embedding, head, embedding)


def _was_tied(model: Adapted) -> bool:
    """Whether head and embedding of the base in a PEFT model are one weight, whatever PEFT has wrapped them in."""
    causal = causal_of(model)
    inner = [_unwrapped(module) for module in (causal.get_input_embeddings(), causal.get_output_embeddings())]
    return inner[0].weight is inner[1].weight


def _unwrapped(module: Layer) -> Layer:
    if isinstance(module, ModulesToSaveWrapper):
        return module.original_module
    return module.base_layer if isinstance(module, LoraLayer | TrainableTokensLayer) else module


def sync_tied_weights(model: Adapted) -> None:
    """Give PEFT's own parameters of a head that follows its embedding's LoRA their values, for PEFT to save."""
    causal = causal_of(model)
    embedding, head = causal.get_input_embeddings(), causal.get_output_embeddings()
    if isinstance(embedding, Embedding) and isinstance(head, LoraLayer):
        head.lora_A[ADAPTER].weight.data.copy_(embedding.lora_embedding_B[ADAPTER].data.t())
        head.lora_B[ADAPTER].weight.data.copy_(embedding.lora_embedding_A[ADAPTER].data.t())


def prepare_tied_merge(model: Adapted) -> None:
    """Prepare a head tied to its embedding for merging: the adapter is added to their shared weight once."""
    head = causal_of(model).get_output_embeddings()
    if isinstance(head, LoraLayer):
        head.lora_B[ADAPTER].weight.data.zero_()


def cast_trained_modules(model: Adapted, dtype: torch.dtype) -> None:
    """Let modules whose own weights are trained, in float32, work in the base's precision; and spare PEFT's chosen rows
    a copy of the whole embedding in every pass."""
    for module in list(model.modules()):
        if isinstance(module, TrainableTokensLayer):
            forward = _rows_of_head if isinstance(module.base_layer, torch.nn.Linear) else _rows_of_embedding
            module.forward = functools.partial(forward, module)
        elif dtype != torch.float32 and not isinstance(module, LoraLayer) and _is_trained(module):
            module.forward = functools.partial(_in_precision, module, dtype)


def numbers_by_part(model: Adapted, layout: Layout) -> dict[str, int]:
    """The parameters in the vector by part: `lora`, `norms`, `embeddings`, `positions`, and `other`, which full
    fine-tuning trains besides.

    Whatever way the embedding is trained, it counts as embeddings. A tied head has no numbers of its own.
    """
    causal = causal_of(model)
    words, table = causal.get_input_embeddings(), learned_positions(causal)
    part_at = {}
    for path, module in model.named_modules():
        if module is words or module is table or is_norm(module):
            part = "embeddings" if module is words else "positions" if module is table else "norms"
            # A part that is trained whole stands inside PEFT's wrapper, which its name in files leaves out.
            part_at[path.removesuffix(".original_module").removesuffix(f".modules_to_save.{ADAPTER}")] = part
    numbers = dict.fromkeys(("lora", "norms", "embeddings", "positions", "other"), 0)
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        inside = next((part for path, part in part_at.items() if name.startswith(f"{path}.")), None)
        numbers[inside or ("lora" if "lora_" in name else "other")] += math.prod(shape)
    return numbers


def _norms(base: Causal, name: str) -> list[str]:
    norms = [path for path, module in text_modules(base).items() if is_norm(module)]
    if not norms:
        raise UsageError(f"lora.train: no norms were found in '{name}' to train; leave norms out")
    return norms


def is_norm(module: torch.nn.Module) -> bool:
    """Whether a module is LayerNorm, or a norm that a model brings along (LlamaRMSNorm, ...)."""
    return isinstance(module, torch.nn.LayerNorm) or type(module).__name__.endswith("Norm")


def _is_trained(module: torch.nn.Module) -> bool:
    """Whether weights of its own, not of modules inside it, are trained."""
    return any(weight is not None and weight.requires_grad for weight in module._parameters.values())


def _in_precision(module: torch.nn.Module, dtype: torch.dtype, *inputs: object, **named: object) -> torch.Tensor:
    """The module's own forward with its weights rounded to `dtype`; gradients reach the weights in float32."""
    rounded = copy.copy(module)
    rounded._parameters = {
        key: None if weight is None else weight.to(dtype)  # type: ignore[misc]
        for key, weight in module._parameters.items()
    }
    made: torch.Tensor = type(module).forward(rounded, *inputs, **named)
    return made


def _head_as_embedding(head: Layer, embedding: Layer, x: torch.Tensor) -> torch.Tensor:
    """x (L, D) to (L, V) by the weight W + s (B A)^T that the embedding, with its A (r, V) and B (D, r), has."""
    y: torch.Tensor = head.base_layer(x)
    if head.disable_adapters or head.merged:
        return y
    a, b = embedding.lora_embedding_A[ADAPTER].to(x.dtype), embedding.lora_embedding_B[ADAPTER].to(x.dtype)
    return torch.add(y, x @ b @ a, alpha=embedding.scaling[ADAPTER])


def _rows_of_embedding(layer: Layer, tokens: torch.Tensor) -> torch.Tensor:
    """The base's embedding of tokens (...), that of the chosen ones from their own rows."""
    base = layer.base_layer
    y: torch.Tensor = base(tokens)
    if layer.disable_adapters or layer.merged:
        return y
    chosen = torch.tensor(layer.token_indices[ADAPTER], device=tokens.device)
    at = tokens[..., None] == chosen
    rows = F.embedding(at.int().argmax(-1), layer.trainable_tokens_delta[ADAPTER]).to(y.dtype)
    scale = layer._get_embed_scale()  # Gemma scales what it looks up.
    if scale is not None:
        rows = rows * scale.to(rows.dtype)
    if base.padding_idx is not None:  # No gradient reaches the row of padding, as in the base.
        rows = torch.where((tokens == base.padding_idx)[..., None], rows.detach(), rows)
    return torch.where(at.any(-1, keepdim=True), rows, y)


def _rows_of_head(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """x (..., D) to (..., V) by the base's weight with the chosen tokens' rows in place of its own."""
    y: torch.Tensor = layer.base_layer(x)
    if layer.disable_adapters or layer.merged:
        return y
    chosen = torch.tensor(layer.token_indices[ADAPTER], device=x.device)
    return y.index_copy(-1, chosen, F.linear(x, layer.trainable_tokens_delta[ADAPTER].to(x.dtype)))
