"""Attention for short texts on a CPU, plugged in through transformers' attention interface.

Flash attention saves memory that a short text does not need, and its backward pass computes the scores again. Up to
`SHORT` tokens the plain form, two matrix products and a softmax, takes a fraction of the time and gives the same.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHORT = 256
"""Tokens up to which a (T, T) matrix per head is cheaper than flash attention."""

NAME = "cllora_short"
SPECIAL = ("softcap", "s_aux", "position_bias")


def short_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Plainly causal attention of short rows; everything else goes to transformers' own SDPA.

    Args:
        query: (B, H, T, D).
        key, value: (B, H_kv, T, D), with H a multiple of H_kv.

    Returns:
        (B, T, H, D), and None for the weights.
    """
    length = query.shape[2]
    plain = attention_mask is None and dropout == 0.0 and 1 < length == key.shape[2] <= SHORT
    if not plain or others.get("is_causal") is False or any(others.get(name) is not None for name in SPECIAL):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    future = torch.full((length, length), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    scores = torch.matmul(query * scale, key.transpose(-1, -2)) + future
    return torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2), None


AttentionInterface.register(NAME, short_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
