"""Attention over packed texts, plugged in through transformers' attention interface.

Texts lie one after the other in a single row, so that the linear layers see hardly anything but real tokens. For
attention alone they are gathered side by side, each beside others of about its length: a causal text never sees what
is gathered behind its end, and nothing of another text.

Short rows on a CPU are attended to plainly, by two matrix products and a softmax. Flash attention saves memory that
they do not need, and its backward pass computes the scores again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from cllora.errors import UsageError
from cllora.model.device import on_device

NAME = "cllora_packed"
SHORT = 256
"""Tokens up to which a (T, T) matrix per head is cheaper than flash attention on a CPU."""
WORTH_A_SHAPE = 256
"""Tokens gathered in vain that cost more than attending to another shape."""
GRAIN = 16
MOST_TEXTS = 16
SPECIAL = ("softcap", "s_aux", "position_bias")

Observer = Callable[[torch.Tensor, torch.Tensor, float], None]
"""Is shown a layer's queries (1, H, N, D), its keys (1, H_kv, N, D) and their scale, as attention gets them."""


@dataclass(frozen=True)
class Packing:
    """Where packed texts are. Texts of about one length share a shape (S, T), none of them longer than T.

    `rows` (G,) picks the texts' tokens out of the N packed ones, shape after shape, and behind a shorter text's end
    its last token again; `back` (N,) picks the packed tokens out of the G gathered ones. Where the two are the same
    tokens in the same order, they are `as_they_are`, and nothing is copied.
    """

    rows: torch.Tensor
    back: torch.Tensor
    shapes: tuple[tuple[int, int], ...]
    as_they_are: bool

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64], device: torch.device) -> "Packing":
        """Of texts with these many tokens (S,), packed in this order."""
        starts = np.cumsum(lengths) - lengths
        found = _shapes(lengths, device)
        rows = [starts[texts, None] + np.minimum(np.arange(t), lengths[texts, None] - 1) for texts, t in found]
        real = [np.arange(t) < lengths[texts, None] for texts, t in found]
        flat, kept = (np.concatenate([part.ravel() for part in parts]) for parts in (rows, real))
        back = np.empty(lengths.sum(), np.int64)
        back[flat[kept]] = np.flatnonzero(kept)
        shapes = tuple((len(texts), t) for texts, t in found)
        return cls(on_device(flat, device), on_device(back, device), shapes, np.array_equal(flat, np.arange(len(back))))

    def gather(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """(N, H, D) to (S, T, H, D) for each shape."""
        flat = tokens.flatten(1)
        if not self.as_they_are:
            flat = _Gather.apply(flat, self.rows, self.back)  # type: ignore[no-untyped-call]
        parts = torch.split(flat, [texts * longest for texts, longest in self.shapes])
        return [part.view(*shape, *tokens.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]

    def scatter(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """(S, T, H, D) for each shape to (N, H, D): the inverse of `gather`."""
        flat = torch.cat([part.flatten(0, 1).flatten(1) for part in parts])
        if not self.as_they_are:
            flat = _Scatter.apply(flat, self.back)  # type: ignore[no-untyped-call]
        return flat.view(-1, *parts[0].shape[2:])


def _shapes(lengths: NDArray[np.int64], device: torch.device) -> list[tuple[NDArray[np.int64], int]]:
    """The texts of each shape, longest first, as many as do not gather much in vain; and its T.

    A CPU prepares its products for every shape once, and that takes longer than many of them: so there texts come in
    powers of two, and T in steps of `GRAIN`.
    """
    order = np.argsort(-lengths, kind="stable")
    found = []
    while len(order):
        longest = int(lengths[order[0]])
        count = min(1 << (len(order).bit_length() - 1), MOST_TEXTS) if device.type == "cpu" else len(order)
        while count > 1 and _in_vain(lengths[order[:count]]):
            count //= 2
        found.append((order[:count], longest if device.type != "cpu" else -(-longest // GRAIN) * GRAIN))
        order = order[count:]
    return found


def _in_vain(lengths: NDArray[np.int64]) -> bool:
    """Whether texts, longest first, are better attended to in two shapes than in one."""
    return bool(2 * lengths[-1] <= lengths[0] and (lengths[0] - lengths).sum() >= WORTH_A_SHAPE)


class _Gather(torch.autograd.Function):
    """Rows of a matrix by index. What is picked again behind a text's end takes part in nothing, so its gradient is
    zero, and the gradient of a row is that of its one real place: an index again, no sum."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, rows: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        return flat.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradient.index_select(0, back), None, None


class _Scatter(torch.autograd.Function):
    """The real places' rows; behind the texts' ends the gradient is zero."""

    @staticmethod
    def forward(ctx: Any, gathered: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        ctx.places = len(gathered)
        return gathered.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (back,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.places, gradient.shape[1]).index_copy_(0, back, gradient), None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    observe: Observer | None = None,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Causal attention within each packed text; without a packing, transformers' own SDPA.

    Args:
        query: (1, H, N, D).
        key, value: (1, H_kv, N, D), with H a multiple of H_kv.
        packing, observe: given to the model as keywords, which hands them down.

    Returns:
        (1, N, H, D), and None for the weights.
    """
    if packing is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    special = [name for name in SPECIAL if others.get(name) is not None]
    if attention_mask is not None or special:
        what = special[0] if special else "a mask"
        raise UsageError(f"the model's attention uses {what}, which packed texts do not support; choose another model")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if observe is not None:
        observe(query, key, scale)
    gathered = [packing.gather(tensor[0].transpose(0, 1)) for tensor in (query, key, value)]
    out = [
        causal(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), scale).transpose(1, 2)
        for q, k, v in zip(*gathered, strict=True)
    ]
    return packing.scatter(out)[None], None


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of rows: q (S, H, T, D), k and v (S, H_kv, T, D) to (S, H, T, D)."""
    groups, length = q.shape[1] // k.shape[1], q.shape[2]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    if q.device.type != "cpu" or length > SHORT:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    future = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    return torch.softmax((q * scale) @ k.transpose(-1, -2) + future, dim=-1) @ v


# No mask function goes with it, so transformers makes no mask: packing says it all, and no text is longer than a window
# (`load.check_context`). Looking for packed texts in positions, as it would, makes a GPU wait in every pass.
AttentionInterface.register(NAME, packed_attention)
