"""Which layers of a model LoRA is put on, to be compared."""

import re
from typing import Any

from cllora.spec import LoraSpec

EXPERTS = r"mlp|expert|feed_forward|(gate|up|down)_proj$"
"""Paths of linear layers whose names PEFT may take for the fused weights of all experts."""


def loras_of(model: Any) -> list[LoraSpec]:
    """The family's default; all linear layers; and linear layers by their whole paths, but those of experts."""
    plain = [
        path
        for path, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D")
        and module is not model.get_output_embeddings()
        and not re.search(EXPERTS, path)
    ]
    kinds = [None, "all-linear", *([tuple(plain)] if plain else [])]
    return [LoraSpec(r=3, lora_dropout=0.0, target_modules=kind) for kind in kinds]


def kind_of(lora: LoraSpec) -> str:
    """What is said of the layers that a LoRA is put on."""
    if lora.target_modules is None:
        return "default targets"
    return "all-linear" if isinstance(lora.target_modules, str) else "linear layers by name"
