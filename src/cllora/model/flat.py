"""The adapter as one flat vector: LoRA's parameters and their gradients become views of two buffers.

Swapping adapters is then one copy, an optimiser sees one tensor, and the vector is what travels.
"""

import math
from typing import Any

import numpy as np
import torch

from cllora.seeds import rng
from cllora.types import Layout, Vector


class FlatAdapter:
    """All trainable parameters of a PEFT model inside `values` (P,) float32, their gradients inside `values.grad`."""

    def __init__(self, model: Any) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.layout = Layout(
            names=tuple(_file_name(name) for name, _ in named), shapes=tuple(tuple(p.shape) for _, p in named)
        )
        device = named[0][1].device
        self.values = torch.nn.Parameter(torch.zeros(self.layout.size, device=device))
        self.values.grad = torch.zeros_like(self.values)
        self._parameters = [parameter for _, parameter in named]
        start = 0
        for parameter in self._parameters:
            stop = start + parameter.numel()
            parameter.data = self.values.data[start:stop].view(parameter.shape)
            parameter.grad = self.values.grad[start:stop].view(parameter.shape)
            start = stop

    @property
    def gradient(self) -> torch.Tensor:
        """The buffer (P,) that backward passes add to."""
        assert self.values.grad is not None
        return self.values.grad

    def read(self) -> Vector:
        """A copy of the values."""
        vector: Vector = self.values.detach().cpu().numpy().copy()
        return vector

    def write(self, vector: Vector) -> None:
        """Put a vector (P,) in place of the values."""
        with torch.no_grad():
            self.values.copy_(torch.from_numpy(np.ascontiguousarray(vector, np.float32)))

    def initial(self, seed: int) -> Vector:
        """LoRA's start: A uniform in +-1/sqrt(fan in), PEFT's Kaiming initialisation with a = sqrt(5); B zero."""
        tensors = {}
        for name, shape in zip(self.layout.names, self.layout.shapes, strict=True):
            if "lora_A" in name:
                bound = 1 / math.sqrt(shape[1])
                tensors[name] = rng(seed, "adapter", name).uniform(-bound, bound, shape).astype(np.float32)
            else:
                tensors[name] = np.zeros(shape, np.float32)
        return self.layout.join(tensors)


def _file_name(parameter: str) -> str:
    """A parameter's name as PEFT writes it in adapter files: without the adapter's own name."""
    return parameter.replace(".default.", ".")
