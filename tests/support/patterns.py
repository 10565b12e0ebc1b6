"""Patterns of attention, and the rule of each as a mask."""

import numpy as np
import torch

from cllora.model.patterns import pattern_of, unshifted_heads
from cllora.spec import Choice


def pattern(name, group, context=64):
    return pattern_of(Choice(name=name, **({} if name == "full" else {"group": group})), context)


def dense_mask(chosen, lengths, heads, kv_heads):
    """Who sees whom among packed texts by the rule alone: (H, N, N)."""
    cut = unshifted_heads(heads, kv_heads)[0]
    mask = torch.zeros(heads, sum(lengths), sum(lengths), dtype=torch.bool)
    for start, length in zip(np.cumsum([0, *lengths[:-1]]), lengths, strict=True):
        here, p = slice(start, start + length), np.arange(length)
        for head in range(heads):
            seen = chosen.visible(p[:, None], p[None], np.array(length), head >= cut)
            mask[head, here, here] = torch.from_numpy(seen)
    return mask
