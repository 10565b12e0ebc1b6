"""The lower layers of a model: those below the first that has anything trainable.

What they make of a text never changes, whoever trains and in whatever round. So a pass can end above them, for its
hidden states to be kept, and another begin there.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from cllora.model.libraries import Causal

Pass = Callable[[], torch.Tensor]
"""A pass of a text through the whole model, to the states that its head gets."""
Passed = Any  # what a layer of the family takes and gives


class LowerLayers:
    """The lower layers and the one above them, between which passes can end and begin.

    `width` is the number of features of a hidden state there, and `dtype` their type.
    """

    def __init__(self, layers: Sequence[torch.nn.Module], above: torch.nn.Module, states: torch.Tensor) -> None:
        self.count, self.width, self.dtype = len(layers), states.shape[-1], states.dtype
        self._given: torch.Tensor | None = None
        self._ends = False
        for layer in layers:
            layer.forward = functools.partial(self._lower, layer.forward)
        above.forward = functools.partial(self._above, above.forward)

    @contextlib.contextmanager
    def given(self, states: torch.Tensor) -> Iterator[None]:
        """Passes that begin above the layers, with these hidden states (1, N, D)."""
        self._given = states
        try:
            yield
        finally:
            self._given = None

    @torch.no_grad()
    def states(self, run: Pass) -> torch.Tensor:
        """The hidden states above the layers (1, N, D), in a pass that ends there."""
        self._ends = True
        try:
            return run()
        except _Ended as ended:
            return ended.states
        finally:
            self._ends = False

    def _lower(self, forward: Callable[..., Passed], *inputs: Passed, **named: Passed) -> Passed:
        return forward(*inputs, **named) if self._given is None else self._given

    def _above(self, forward: Callable[..., Passed], states: torch.Tensor, *inputs: Passed, **named: Passed) -> Passed:
        if self._ends:
            raise _Ended(states)
        return forward(states, *inputs, **named)


class _Ended(Exception):
    """The end of a pass above the lower layers."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = states


def lower_layers(model: Causal, run: Pass, run_other: Pass) -> LowerLayers | None:
    """The lower layers of a model; None where the first layer has something trainable, or something below it, and where
    more goes from layer to layer than hidden states. Autograd says what is trainable, and a trial whether a pass can
    begin above them.

    Args:
        run, run_other: passes of two texts, of which none is in the other.
    """
    entered, constant = _layers_of(model, run)
    lower = list(itertools.takewhile(constant.__contains__, entered))
    if not lower or len(lower) == len(entered):
        return None
    layers = LowerLayers(lower, entered[len(lower)], constant[lower[-1]])
    return layers if _can_begin_above(layers, run, run_other) else None


def _layers_of(model: Causal, run: Pass) -> tuple[list[torch.nn.Module], dict[torch.nn.Module, torch.Tensor]]:
    """The layers that a pass enters, in order; and of those that take and give hidden states on which nothing trainable
    has a bearing, what they gave."""
    entered: list[torch.nn.Module] = []
    constant: dict[torch.nn.Module, torch.Tensor] = {}

    def enter(layer: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        entered.append(layer)

    def leave(layer: torch.nn.Module, inputs: tuple[object, ...], output: Passed) -> None:
        are_states = [isinstance(states, torch.Tensor) and states.dim() == 3 for states in (*inputs[:1], output)]
        if are_states == [True, True] and not output.requires_grad:
            constant[layer] = output

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    hooks = [layer.register_forward_pre_hook(enter) for layer in layers]
    hooks += [layer.register_forward_hook(leave) for layer in layers]
    try:
        with torch.enable_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return entered, constant


@torch.no_grad()
def _can_begin_above(layers: LowerLayers, run: Pass, run_other: Pass) -> bool:
    """Whether a pass that begins above the layers comes to what a whole one does."""
    whole, states = run(), layers.states(run)
    run_other()  # so that nothing is there that a layer might have kept of the text
    try:
        with layers.given(states):
            return torch.equal(run(), whole)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError):
        # Such as a KeyError, where a layer looks for keys that one below has to make.
        return False
