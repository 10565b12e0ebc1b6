"""DoRA: the length of each row of an adapted weight is trained apart from its direction.

Liu et al. 2024 (arXiv 2402.09353), equation 5: W' = m (W + s B A) / |W + s B A|, with one length m for each output. As
in section 4.3 there, and in PEFT, the norm is a constant in the backward pass. PEFT's own forward draws dropout from
torch's global generator, and in training mode alone; this one draws a batch's masks from its own generator.
"""

from typing import Protocol

import torch
from peft.tuners.lora import Linear
from torch.nn import functional as F

from cllora.model.frozen import FrozenLayer
from cllora.model.libraries import Adapted, Layer
from cllora.model.parts import ADAPTER
from cllora.model.routing import AdapterRouting

MAGNITUDE = "lora_magnitude_vector"


class _HasRouting(Protocol):
    routing: AdapterRouting


@torch.no_grad()
def set_lengths(model: Adapted) -> None:
    """Let DoRA start at the base: m = |W| in float32. PEFT rounds it to the base's precision, another function."""
    for layer in model.modules():
        if isinstance(layer, Linear) and ADAPTER in layer.lora_magnitude_vector:
            weight = layer.base_layer.weight.float()
            length = (weight.t() if layer.fan_in_fan_out else weight).norm(dim=1)
            layer.lora_magnitude_vector[ADAPTER].weight.data = length


def dora_forward(
    layer: Layer, adapters: _HasRouting, frozen: FrozenLayer, x: torch.Tensor, *arguments: object, **named: object
) -> torch.Tensor:
    """base(x) + (m/n - 1) W z + (m/n) s B A z with z = dropout(x) and n = |W + s B A|: x (..., in) to (..., out).

    What is frozen counts as part of W.
    """
    y: torch.Tensor = layer.base_layer(x, *arguments, **named)
    if layer.disable_adapters or layer.merged:
        return y
    a, b, scale = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER]
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    weight = frozen.on(weight.t() if layer.fan_in_fan_out else weight)
    y = frozen.added(y, x)
    norm = (weight.float() + scale * (b @ a)).detach().norm(dim=1)
    length = (layer.lora_magnitude_vector[ADAPTER].weight / norm).to(x.dtype)
    z = adapters.routing.dropped(x, getattr(layer.lora_dropout[ADAPTER], "p", 0.0))
    plain = F.linear(z, weight) if z is not x else y if bias is None else y - bias
    low = F.linear(F.linear(z, a.to(x.dtype)), b.to(x.dtype))
    return torch.add(y + (length - 1) * plain, length * low, alpha=scale)
