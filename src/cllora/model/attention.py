"""Attention over packed texts, plugged in through transformers' attention interface.

Texts lie one after the other in a single row, without padding, so that the linear layers see real tokens only. For
attention alone they are gathered side by side, each beside others of about its length: a causal text never sees what
is gathered behind its end, and nothing of another text.

Short rows on a CPU are attended to plainly, by two matrix products and a softmax. Flash attention saves memory that
they do not need, and its backward pass computes the scores again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cllora.errors import UsageError
from cllora.model.device import on_device

NAME = "cllora_packed"
SHORT = 256
"""Tokens up to which a (T, T) matrix per head is cheaper than flash attention on a CPU."""
WORTH_A_SHAPE = 256
"""Tokens gathered in vain that cost more than attending to another shape."""
SPECIAL = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True)
class Packing:
    """Where packed texts are. Texts of about one length share a shape (S, T), T the longest of them.

    `rows` (G,) picks the texts' tokens out of the N packed ones, shape after shape, and behind a shorter text's end
    its last token again; `back` (N,) picks the packed tokens out of the G gathered ones.
    """

    rows: torch.Tensor
    back: torch.Tensor
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64], device: torch.device) -> "Packing":
        """Of texts with these many tokens (S,), packed in this order."""
        starts = np.cumsum(lengths) - lengths
        groups = _of_about_one_length(lengths)
        shapes = tuple((len(texts), int(lengths[texts].max())) for texts in groups)
        columns = [np.arange(longest) for _, longest in shapes]
        rows = [
            starts[texts, None] + np.minimum(column, lengths[texts, None] - 1)
            for texts, column in zip(groups, columns, strict=True)
        ]
        real = [column < lengths[texts, None] for texts, column in zip(groups, columns, strict=True)]
        flat, kept = (np.concatenate([part.ravel() for part in parts]) for parts in (rows, real))
        back = np.empty(lengths.sum(), np.int64)
        back[flat[kept]] = np.flatnonzero(kept)
        return cls(on_device(flat, device), on_device(back, device), shapes)

    def gather(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """(N, H, D) to (S, T, H, D) for each shape; a view where all texts are of one length."""
        flat = tokens.flatten(1)
        if len(self.rows) > len(tokens) or len(self.shapes) > 1:
            flat = _Gather.apply(flat, self.rows, self.back)  # type: ignore[no-untyped-call]
        parts = torch.split(flat, [texts * longest for texts, longest in self.shapes])
        return [part.view(*shape, *tokens.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]

    def scatter(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """(S, T, H, D) for each shape to (N, H, D): the inverse of `gather`."""
        flat = torch.cat([part.flatten(0, 1).flatten(1) for part in parts])
        if len(flat) > len(self.back) or len(parts) > 1:
            flat = _Scatter.apply(flat, self.back)  # type: ignore[no-untyped-call]
        return flat.view(-1, *parts[0].shape[2:])


def _of_about_one_length(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places of texts, longest first, cut where the rest is at most half as long and would gather much in vain."""
    order = np.argsort(-lengths, kind="stable")
    cuts, longest = [], lengths[order[0]]
    for place, length in enumerate(lengths[order]):
        in_vain = (longest - length) * (len(order) - place)
        if 2 * length <= longest and in_vain >= WORTH_A_SHAPE:
            cuts.append(place)
            longest = length
    return np.split(order, cuts)


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
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Causal attention within each packed text; without a packing, transformers' own SDPA.

    Args:
        query: (1, H, N, D).
        key, value: (1, H_kv, N, D), with H a multiple of H_kv.
        packing: given to the model as a keyword, which hands it down.

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


def _mask(*sizes: Any, attention_mask: torch.Tensor | None = None, **others: Any) -> torch.Tensor | None:
    """No mask where none is given, whatever transformers makes of positions that start over, or of a window narrower
    than a row of many texts: packing says it all, and no text is longer than a window (`load.check_context`)."""
    if attention_mask is None:
        return None
    return sdpa_mask(*sizes, attention_mask=attention_mask, **others)  # type: ignore[no-any-return]


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _mask)
