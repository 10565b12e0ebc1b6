"""Which layers of a model LoRA is put on, to be compared."""

import re
from typing import Any

import torch
from configs import POSITIONS

import stock
from cllora.spec import LoraSpec

EXPERTS = r"mlp|expert|feed_forward|(gate|up|down)_proj$"
"""Names of linear layers that PEFT may take for those of experts."""


def loras_of(model: Any) -> list[LoraSpec]:
    """PEFT's default for the family; every linear layer but the head that texts go through, by their whole names; those
    of no experts alone, since PEFT takes names of experts' layers for the fused weights of all of them."""
    linear: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, path=path: linear.add(path))
        for path, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not model.get_output_embeddings()
    ]
    with torch.no_grad():
        stock.mean_loss(model, tuple(range(4, 4 + POSITIONS)))
    for hook in hooks:
        hook.remove()
    plain = {path for path in linear if not re.search(EXPERTS, path)}
    return [LoraSpec(r=3, lora_dropout=0.0)] + [
        LoraSpec(r=3, lora_dropout=0.0, target_modules=tuple(sorted(paths))) for paths in (linear, plain) if paths
    ]


def kind_of(lora: LoraSpec) -> str:
    if lora.target_modules is None:
        return "default targets"
    inside = any(re.search(EXPERTS, path) for path in lora.target_modules)
    return "all linear layers" if inside else "linear layers outside of experts"
