"""Passes through the base: losses of packed texts, and gradients for the adapters they meet."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from cllora.model.adapters import Adapters
from cllora.model.attention import Observer
from cllora.model.batches import Packed, packed
from cllora.model.device import on_device
from cllora.model.libraries import Adapted
from cllora.model.lower import LowerLayers, lower_layers
from cllora.model.parts import causal_of
from cllora.model.routing import AdapterRouting
from cllora.types import Samples

PIECE = {"cpu": 512, "cuda": 4096}
LOGITS = {"cpu": 2**23, "cuda": 2**28}
"""Tokens and logits that the head works on at once, unless `model.loss_piece` says how many tokens. So memory grows
neither with the vocabulary nor, in the head, with the context."""

TRIED = Samples([""] * 2, np.arange(4, 16), np.array([0, 6, 12]), np.zeros(2, np.int32), {}, "tried")
"""Two made-up texts with which lower layers are looked for."""


class Network:
    """A PEFT model whose texts are packed and whose head works piece by piece, on `piece` tokens at once.

    The loss is a sum over tokens, so its gradient is the sum of the pieces' gradients: only rounding depends on them.
    """

    def __init__(self, model: Adapted, adapters: Adapters, piece: int | None = None) -> None:
        causal = causal_of(model)
        self._backbone = causal.base_model
        self._head = causal.get_output_embeddings()
        self._adapters = adapters
        self.device: torch.device = self._head.weight.device
        kind = self.device.type
        self.piece = piece or max(1, min(PIECE[kind], LOGITS[kind] // self._head.weight.shape[0]))
        self.lower: LowerLayers | None = None

    def losses(self, row: Packed) -> torch.Tensor:
        """Negative log-likelihood of every predicted token (L,), float32, without dropout or gradients."""
        losses = [self._token_losses(states, targets) for states, targets in self._pieces(row)]
        return torch.cat(losses)[: len(row.owner)]

    def judged(self, row: Packed) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses (L,), and whether each token is the likeliest of all (L,), as greedy decoding would give it."""
        losses, likeliest = [], []
        for states, targets in self._pieces(row):
            logits = self._head(states).float()
            losses.append(F.cross_entropy(logits, targets, reduction="none"))
            likeliest.append(logits.argmax(-1) == targets)
        return torch.cat(losses)[: len(row.owner)], torch.cat(likeliest)[: len(row.owner)]

    def find_lower(self) -> LowerLayers | None:
        """Look for lower layers, above which passes can begin from then on."""
        row, other = (next(packed(TRIED, [np.array([i])], 8, 8, self.device)) for i in range(2))
        self.lower = lower_layers(self._backbone, lambda: self._states(row, None), lambda: self._states(other, None))
        return self.lower

    def lower_states(self, row: Packed) -> torch.Tensor:
        """The hidden states of a row's tokens above the lower layers (N, D)."""
        assert self.lower is not None
        return self.lower.states(lambda: self._states(row, None))[0]

    def watch(self, row: Packed, observe: Observer) -> None:
        """Pass texts through, and show `observe` the queries and keys of each layer, in the layers' order."""
        self._states(row, None, observe)

    def add_gradients(self, row: Packed, counts: torch.Tensor, dropout: Sequence[torch.Generator]) -> torch.Tensor:
        """Add each batch's part of the gradient of its mean loss to its adapter's; that part of the losses (C,).

        Args:
            row: texts of C batches; those of batch c meet the adapter in slot c.
            counts: the tokens predicted in all of each batch (C,), over which its mean goes.
        """
        states = self._states(row, dropout)
        own = _one_hot(row.batch, len(counts))  # filler is of no batch, and weighs nothing
        share = own @ (1 / counts.clamp(min=1))
        pull = torch.empty_like(states)
        parts = []
        # The head's part goes forward and back before the next piece's logits are there.
        for start in range(0, len(states), self.piece):
            part = slice(start, start + self.piece)
            piece = states[part].detach().requires_grad_()
            losses = self._token_losses(piece, row.targets[part]) * share[part]
            # To the head's own weights too, where they are trained.
            losses.sum().backward()  # type: ignore[no-untyped-call]
            assert piece.grad is not None
            pull[part] = piece.grad
            parts.append(losses.detach())
        states.backward(pull)  # type: ignore[no-untyped-call]
        # A product and no scattered sum: on a GPU the order of that, and so the last digits, would vary.
        return torch.cat(parts) @ own

    def _pieces(self, row: Packed) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The head's inputs without dropout, and its targets, piece by piece."""
        yield from zip(
            torch.split(self._states(row, None), self.piece), torch.split(row.targets, self.piece), strict=True
        )

    def _token_losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self._head(states).float(), targets, reduction="none")

    def _states(
        self, row: Packed, dropout: Sequence[torch.Generator] | None, observe: Observer | None = None
    ) -> torch.Tensor:
        """The hidden states of the tokens whose successor is predicted (L, D)."""
        mask = None
        if len(row.sizes) > 1:
            slots = np.full(row.tokens.shape[1], -1)
            slots[: sum(row.sizes)] = np.repeat(np.arange(len(row.sizes)), row.sizes)
            mask = _one_hot(on_device(slots, row.tokens.device), len(row.sizes)).to(self._head.weight.dtype)
        shown = {} if observe is None else {"observe": observe}
        above = contextlib.nullcontext() if row.states is None or self.lower is None else self.lower.given(row.states)
        with self._adapters.routed(AdapterRouting(row.sizes, mask, dropout)), above:
            states: torch.Tensor = self._backbone(
                input_ids=row.tokens, position_ids=row.positions, packing=row.packing, use_cache=False, **shown
            ).last_hidden_state[0]
        return states.index_select(0, row.keep)


def _one_hot(slots: torch.Tensor, count: int) -> torch.Tensor:
    """(N,) slots to (N, C) zeros with a one in each row's own column."""
    return (slots[:, None] == torch.arange(count, device=slots.device)).float()
