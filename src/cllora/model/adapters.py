"""Adapters as flat vectors, several at once: every LoRA layer works from views of two buffers.

Swapping an adapter is one copy, an optimiser sees one tensor, and the vector is what travels. Where texts of several
clients lie in one row, each token meets the adapter of its own client, and the base multiplies all of them at once.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.lora import Linear, LoraLayer
from torch.nn import functional as F

from cllora.model.dora import MAGNITUDE, dora_forward
from cllora.model.frozen import Frozen, FrozenLayer
from cllora.model.libraries import Adapted, Layer
from cllora.model.parts import ADAPTER, cast_trained_modules
from cllora.model.routing import AdapterRouting
from cllora.seeds import rng
from cllora.types import Layout, Model, Vector, model_of


class Adapters:
    """Room for `slots` adapters of a PEFT model: `values` (C, P) and `gradients` (C, P), float32.

    PEFT's own parameters become views of slot 0, for PEFT to save. The layers' forward is replaced by a shorter one:
    PEFT casts activations to float32 and adds the result in passes over all of them; here the two small matrices
    are cast, and their product is added to the base's output in the product itself.

    What is trained beside LoRA (`parts`), or in its place, is of slot 0, the only one there is then: texts of several
    clients cannot share a pass in which they meet different norms or embeddings. The vector holds its values, not their
    distance from the base's.
    """

    def __init__(self, model: Adapted, slots: int = 1) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if slots > 1 and not only_lora(model):
            raise ValueError("only LoRA has several slots")
        dtype = next((p.dtype for p in model.parameters() if not p.requires_grad), named[0][1].dtype)
        self.layout = Layout(
            tuple(file_name(name) for name, _ in named), tuple(tuple(p.shape) for _, p in named), scales_of(model)
        )
        device = named[0][1].device
        self.values = torch.zeros(slots, self.layout.size, device=device)
        self.gradients = torch.zeros_like(self.values)
        self.routing = AdapterRouting(sizes=[])  # the whole row meets slot 0
        self.frozen = Frozen(self.layout)
        self._base: dict[str, NDArray[np.float32]] = {}  # where training starts, unless it is drawn
        views: dict[str, list[torch.nn.Parameter]] = {}
        start = 0
        for name, parameter in named:
            stop = start + parameter.numel()
            views[name] = [torch.nn.Parameter(row[start:stop].view(parameter.shape)) for row in self.values]
            for view, row in zip(views[name], self.gradients, strict=True):
                view.grad = row[start:stop].view(parameter.shape)
            if not _is_drawn(name):
                values = parameter.detach().float()
                views[name][0].data.copy_(values)
                self._base[file_name(name)] = values.cpu().numpy().copy()
            parameter.data, parameter.grad = views[name][0].data, views[name][0].grad
            start = stop
        for name, module in model.named_modules():
            if isinstance(module, Linear) and f"{name}.lora_A.{ADAPTER}.weight" in views:
                a, b = (views[f"{name}.{matrix}.{ADAPTER}.weight"] for matrix in ("lora_A", "lora_B"))
                frozen = self.frozen.layer(name, device)
                if ADAPTER in module.lora_magnitude_vector:
                    module.forward = functools.partial(dora_forward, module, self, frozen)
                else:
                    module.forward = functools.partial(_forward, module, self, frozen, a, b)
        cast_trained_modules(model, dtype)

    def start_at(self, vector: Vector) -> None:
        """Let training start at a vector (P,), which then is what `is_base` knows."""
        self._base = {name: values.copy() for name, values in self.layout.split(vector).items()}

    def write(self, model: Model | Vector, slot: int = 0) -> None:
        """Put a model's vector (P,) into a slot, and what is frozen under it below all slots.

        Raises:
            UsageError: something is frozen where no linear layer has LoRA, or has not that layer's shape.
        """
        model = model_of(model)
        self.frozen.write(model.frozen)
        self.values[slot].copy_(torch.from_numpy(np.ascontiguousarray(model.adapter, np.float32)))

    @contextlib.contextmanager
    def routed(self, routing: AdapterRouting) -> Iterator[None]:
        """A pass in which the tokens meet the adapters as `routing` says."""
        self.routing = routing
        try:
            yield
        finally:
            self.routing = AdapterRouting(sizes=[])

    def initial(self, seed: int) -> Vector:
        """The initial adapter, which leaves the model as the base; or the one that was set by `start_at`.

        LoRA: A uniform in +-1/sqrt(fan in), PEFT's Kaiming initialisation with a = sqrt(5); B zero. On an embedding A
        is zero and B standard normal, as PEFT has it. Anything else: the base's own values.
        """
        tensors = {}
        for name, shape in zip(self.layout.names, self.layout.shapes, strict=True):
            if name in self._base:
                tensors[name] = self._base[name]
            elif "lora_A" in name:
                bound = 1 / math.sqrt(shape[1])
                tensors[name] = rng(seed, "adapter", name).uniform(-bound, bound, shape).astype(np.float32)
            else:
                tensors[name] = rng(seed, "adapter", name).standard_normal(shape).astype(np.float32)
        return self.layout.join(tensors)

    def is_base(self, model: Model | Vector) -> bool:
        """Whether a model is the base: what LoRA multiplies by is zero, the rest as the base has it, nothing frozen.

        Where training starts at an adapter, whether its vector is that adapter.
        """
        model = model_of(model)
        tensors = self.layout.split(model.adapter)
        return not model.frozen and all(np.array_equal(tensors[name], values) for name, values in self._base.items())


def only_lora(model: Adapted) -> bool:
    """Whether nothing is trained but LoRA on linear layers: what texts of several clients can meet in one pass."""
    return all("lora_A." in name or "lora_B." in name for name, p in model.named_parameters() if p.requires_grad)


def scales_of(model: Adapted) -> dict[str, float]:
    """LoRA's scale, alpha / r, by the names of the modules that have it."""
    return {name: layer.scaling[ADAPTER] for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def _forward(
    layer: Layer,
    adapters: Adapters,
    frozen: FrozenLayer,
    a: Sequence[torch.nn.Parameter],
    b: Sequence[torch.nn.Parameter],
    x: torch.Tensor,
    *arguments: object,
    **named: object,
) -> torch.Tensor:
    """base(x) + frozen(x) + s B A dropout(x), x (..., in) to (..., out), A (r, in), B (out, r) being of a token's slot.

    The C pairs are stacked into one of rank C r; of each token's C r inner numbers those of other slots are zeroed.
    """
    y: torch.Tensor = layer.base_layer(x, *arguments, **named)
    if layer.disable_adapters or layer.merged:
        return y
    y = frozen.added(y, x)
    routing = adapters.routing
    slots = 1 if routing.mask is None else routing.mask.shape[1]
    down = torch.cat(list(a[:slots])).to(x.dtype)
    up = torch.cat(list(b[:slots]), dim=1).to(x.dtype).t()
    inner = F.linear(routing.dropped(x, getattr(layer.lora_dropout[ADAPTER], "p", 0.0)), down).flatten(0, -2)
    if routing.mask is not None:
        inner = (inner.view(len(inner), slots, -1) * routing.mask[:, :, None]).flatten(1)
    return torch.addmm(y.flatten(0, -2), inner, up, alpha=layer.scaling[ADAPTER]).view(y.shape)


def file_name(parameter: str) -> str:
    """A parameter's name as PEFT writes it in adapter files: without the adapter's own name."""
    name = f"{parameter}.".replace(".modules_to_save.", ".").replace(f".{ADAPTER}.", ".").removesuffix(".")
    return name.removesuffix(".weight") if name.endswith(f".{MAGNITUDE}.weight") else name


def _is_drawn(parameter: str) -> bool:
    """Whether training starts at random values: the factor of LoRA that the other, zero at first, multiplies."""
    return "lora_A" in parameter or "lora_embedding_B" in parameter
