"""Attention over packed texts, plugged in through transformers' attention interface.

Texts lie one after the other in a single row, so that the linear layers see hardly anything but real tokens. For
attention alone they are gathered side by side, each beside others of about its length: a causal text never sees what
is gathered behind its end, and nothing of another text.

A pattern of attention other than full cuts texts into groups, some heads' elsewhere than others'. A group is laid out
like a text of its own, so nothing is computed that is not seen, and memory grows as the texts do.

Short rows on a CPU are attended to plainly, by two matrix products and a softmax. Flash attention saves memory that
they do not need, and its backward pass computes the scores again.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from cllora.errors import UsageError
from cllora.model.device import on_device
from cllora.model.libraries import Context
from cllora.model.patterns import FULL, Pattern, unshifted_heads

NAME = "cllora_packed"
SHORT = 256
"""Tokens up to which a (T, T) matrix per head is cheaper than flash attention on a CPU."""
LEAN = 8192
"""Tokens in a row from which such matrices, which are kept for the backward pass, weigh more than they save."""
WORTH_A_SHAPE = 256
"""The number of padding tokens from which on a second shape is faster than padding the first."""
GRAIN = 16
MOST_TEXTS = 16
HARMLESS = frozenset(
    {
        "is_causal",
        "logits_to_keep",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "sliding_window",
        "use_cache",
    }
)
"""Keywords that change nothing here. Whatever else a model hands to its attention (`softcap`, sinks, a bias, blocks) is
a computation of its own."""

Observer = Callable[[torch.Tensor, torch.Tensor, float], None]
"""Is shown a layer's queries (1, H, N, D), its keys (1, H_kv, N, D) and their scale, as attention gets them."""


@dataclass(frozen=True)
class Packing:
    """The places of packed texts. Texts of about one length share a shape (S, T), none of them longer than T.

    `rows` (G,) picks the texts' tokens out of the N packed ones, shape after shape, and behind a shorter text's end
    its last token again; `back` (N,) picks the packed tokens out of the G gathered ones. Where the two are the same
    tokens in the same order, they are `as_they_are`, and nothing is copied. `shifted` is the packing of the shifted
    heads, where a pattern of attention has them and it is another one.
    """

    rows: torch.Tensor
    back: torch.Tensor
    shapes: tuple[tuple[int, int], ...]
    as_they_are: bool
    shifted: "Packing | None" = None

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64], device: torch.device, pattern: Pattern = FULL) -> "Packing":
        """Make the packing of texts with these many tokens (S,), in this order, under a pattern of attention."""
        order, sizes = pattern.blocks(lengths, shifted=False)
        shifted_order, shifted_sizes = pattern.blocks(lengths, shifted=True)
        if np.array_equal(sizes, shifted_sizes) and _same(order, shifted_order):
            return cls._of_blocks(order, sizes, device)
        return dataclasses.replace(
            cls._of_blocks(order, sizes, device), shifted=cls._of_blocks(shifted_order, shifted_sizes, device)
        )

    @classmethod
    def _of_blocks(cls, order: NDArray[np.int64] | None, lengths: NDArray[np.int64], device: torch.device) -> "Packing":
        """Make the packing of blocks of the packed tokens, taken in an order (N,)."""
        starts = np.cumsum(lengths) - lengths
        shapes_of_texts = _shapes(lengths, device)
        rows = [
            starts[texts, None] + np.minimum(np.arange(t), lengths[texts, None] - 1) for texts, t in shapes_of_texts
        ]
        real = [np.arange(t) < lengths[texts, None] for texts, t in shapes_of_texts]
        flat, kept = (np.concatenate([part.ravel() for part in parts]) for parts in (rows, real))
        flat = flat if order is None else order[flat]
        back = np.empty(lengths.sum(), np.int64)
        back[flat[kept]] = np.flatnonzero(kept)
        shapes = tuple((len(texts), t) for texts, t in shapes_of_texts)
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
    shapes = []
    while len(order):
        longest = int(lengths[order[0]])
        count = min(1 << (len(order).bit_length() - 1), MOST_TEXTS) if device.type == "cpu" else len(order)
        while count > 1 and _in_vain(lengths[order[:count]]):
            count //= 2
        shapes.append((order[:count], longest if device.type != "cpu" else -(-longest // GRAIN) * GRAIN))
        order = order[count:]
    return shapes


def _in_vain(lengths: NDArray[np.int64]) -> bool:
    """Whether texts, longest first, are better attended to in two shapes than in one."""
    unlike = 2 * lengths[-1] <= lengths[0] or lengths[0] > SHORT  # Flash attention is not prepared for a shape.
    return bool(unlike and (lengths[0] - lengths).sum() >= WORTH_A_SHAPE)


def _same(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


class _Gather(torch.autograd.Function):
    """Rows of a matrix by index. What is picked again behind a text's end takes part in nothing, so its gradient is
    zero, and the gradient of a row is that of its one real place: an index again, no sum."""

    @staticmethod
    def forward(ctx: Context, flat: torch.Tensor, rows: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        return flat.index_select(0, rows)

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradient.index_select(0, back), None, None


class _Scatter(torch.autograd.Function):
    """The real places' rows; behind the texts' ends the gradient is zero."""

    @staticmethod
    def forward(ctx: Context, gathered: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        ctx.places = len(gathered)
        return gathered.index_select(0, back)

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
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
    **arguments: object,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Causal attention within each packed text, under the packing's pattern; without a packing, transformers' own SDPA.

    Args:
        query: (B, H, T, D), all rows together the packed texts: mostly one row, B = 1.
        key, value: (B, H_kv, T, D), with H a multiple of H_kv.
        packing, observe: given to the model as keywords, which hands them down.

    Returns:
        (B, T, H, D), and None for the weights.
    """
    if packing is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **arguments
        )
    special = [
        name for name, value in arguments.items() if name not in HARMLESS and value is not None and value is not False
    ]
    if attention_mask is not None or special or arguments.get("is_causal") is False:
        feature = special[0] if special else "a mask or both sides of a token"
        raise UsageError(
            f"the model's attention uses {feature}, which packed texts do not support; choose another model"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if observe is not None:
        observe(query, key, scale)
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    if packing.shifted is None:
        out = _attended(packing, q, k, v, scale)
    else:
        cut, kv_cut = unshifted_heads(q.shape[1], k.shape[1])
        halves = zip((packing, packing.shifted), _at(q, cut), _at(k, kv_cut), _at(v, kv_cut), strict=True)
        out = torch.cat([_attended(half, q, k, v, scale) for half, q, k, v in halves if q.shape[1]], dim=1)
    return out.view(query.shape[0], -1, *out.shape[1:]), None


def _at(heads: torch.Tensor, cut: int) -> tuple[torch.Tensor, ...]:
    """The first `cut` heads and the others of (N, H, D); where the first are all, both halves share them."""
    return (heads, heads) if cut == heads.shape[1] else torch.split(heads, [cut, heads.shape[1] - cut], dim=1)


def _attended(packing: Packing, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of packed tokens: q (N, H, D), k and v (N, H_kv, D) to (N, H, D)."""
    plain, gathered = len(q) < LEAN, [packing.gather(tensor) for tensor in (q, k, v)]
    rows = [
        causal(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), scale, plain).transpose(1, 2)
        for q, k, v in zip(*gathered, strict=True)
    ]
    return packing.scatter(rows)


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, plain: bool = True) -> torch.Tensor:
    """Causal attention of rows: q (S, H, T, D), k and v (S, H_kv, T, D) to (S, H, T, D); flash unless `plain`."""
    groups, length = q.shape[1] // k.shape[1], q.shape[2]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    if not plain or q.device.type != "cpu" or length > SHORT:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    future = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    return torch.softmax((q * scale) @ k.transpose(-1, -2) + future, dim=-1) @ v


# No mask function goes with it, so transformers makes no mask: packing says it all, and no text is longer than a window
# (`load.check_context`). Looking for packed texts in positions, as it would, makes a GPU wait in every pass.
AttentionInterface.register(NAME, packed_attention)
