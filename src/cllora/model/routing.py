"""Routing of the tokens of a pass to adapters, and the draws of their dropout."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class AdapterRouting:
    """The adapter of each token in the row being processed.

    The first `sizes[0]` tokens meet the adapter in slot 0, the next `sizes[1]` that in slot 1, and so on; what comes
    behind is filler. `mask` (N, C) says the same in zeros and ones; None where there is one slot. With `generators`,
    one a slot, LoRA's dropout is on.
    """

    sizes: Sequence[int]
    mask: torch.Tensor | None = None
    generators: Sequence[torch.Generator] | None = None

    def dropped(self, x: torch.Tensor, p: float) -> torch.Tensor:
        """x (1, N, D) with a share `p` of it zeroed, drawn slot by slot, so that company changes no draw."""
        if self.generators is None or p == 0:
            return x
        kept = torch.ones_like(x)
        start = 0
        for size, generator in zip(self.sizes, self.generators, strict=True):
            kept[..., start : start + size, :].bernoulli_(1 - p, generator=generator)
            start += size
        return x * kept / (1 - p)
