"""PEFT's LoRA layers with a shorter way through them: same modules, same parameters, same result.

PEFT casts the input to the adapter's float32 and adds the result in passes over the whole activation. Here the two
small matrices are cast instead, and their product is added to the base's output in the product itself.
"""

import types
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional as F

ADAPTER = "default"


def quicken(model: Any) -> None:
    """Give every plain LoRA layer of a PEFT model the short forward."""
    for module in model.modules():
        if isinstance(module, Linear) and not module.use_dora[ADAPTER]:
            module.forward = types.MethodType(_forward, module)


def _forward(layer: Any, x: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
    """base(x) + s B A dropout(x), shapes (..., in) to (..., out)."""
    y: torch.Tensor = layer.base_layer(x, *others, **named)
    if layer.disable_adapters or layer.merged:
        return y
    a, b = layer.lora_A[ADAPTER].weight.to(x.dtype), layer.lora_B[ADAPTER].weight.to(x.dtype)
    hidden = F.linear(layer.lora_dropout[ADAPTER](x), a)
    flat = torch.addmm(y.flatten(0, -2), hidden.flatten(0, -2), b.t(), alpha=layer.scaling[ADAPTER])
    return flat.view(y.shape)
