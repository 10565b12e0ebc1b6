"""Gradient checkpointing: a layer keeps its input alone, and is computed again when its gradient is due."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from cllora.errors import UsageError
from cllora.model.adapters import Adapters
from cllora.model.libraries import Adapted
from cllora.model.routing import AdapterRouting


def checkpoint_layers(model: Adapted, adapters: Adapters) -> None:
    """Let a model's layers keep only their inputs for the backward pass (Chen et al. 2016, arXiv
    1604.06174): memory for one layer's activations in place of all of them, for one more pass forward.

    Results stay the same to the last bit, since a layer meets again what it has met: the same adapters and dropout
    masks, and with the model's keywords the same packing. transformers' own switch goes with training mode, in which
    the base's dropout would be on, and knows nothing of masks that are drawn from generators of our own.

    Raises:
        UsageError: the model has no layers of the kind that transformers checkpoints.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UsageError(
            "model.checkpointing: the model has no layers that transformers could checkpoint; leave it out"
        )
    for layer in layers:
        layer.forward = functools.partial(_checkpointed, layer.forward, adapters)


Passed = Any  # what a layer of the family takes and gives


def _checkpointed(forward: Callable[..., Passed], adapters: Adapters, *inputs: Passed, **named: Passed) -> Passed:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    twice = functools.partial(_twice, adapters)
    # Nothing draws from torch's global generators: the base's own dropout is off.
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=twice, **named)


def _twice(
    adapters: Adapters,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The context managers around a layer's passes: nothing around the first, and around the second what the first
    met."""
    routing = adapters.routing
    return contextlib.nullcontext(), _as_before(adapters, routing, _states(routing))


@contextlib.contextmanager
def _as_before(adapters: Adapters, routing: AdapterRouting, states: Sequence[torch.Tensor]) -> Iterator[None]:
    now = _states(routing)
    _set(routing, states)
    try:
        with adapters.routed(routing):
            yield
    finally:
        _set(routing, now)


def _states(routing: AdapterRouting) -> list[torch.Tensor]:
    return [generator.get_state() for generator in routing.generators or ()]


def _set(routing: AdapterRouting, states: Sequence[torch.Tensor]) -> None:
    for generator, state in zip(routing.generators or (), states, strict=True):
        generator.set_state(state)
