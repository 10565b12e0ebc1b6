"""Attention entropy, which is how widely each head looks: the entropy of its distribution over the tokens that a query
may see.

A query at position i (from 1) sees i keys, of its own text alone, and an entropy of at most ln i. Entropy in nats thus
grows with a text's length; as a share of ln i it does not, so texts of any length and contexts can be compared.
"""

from collections.abc import Iterable, Sequence

import torch

from cllora.model.attention import Observer
from cllora.model.engine import HeadEntropies

BLOCK = 256
"""Queries of all heads whose distributions are there at once, so that memory grows with the text and not its square."""


def head_entropies(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """H_i = -sum_j p_ij ln p_ij (nats) over the keys j <= i, p_i = softmax(scale q_i k_j); computed in float32.

    Args:
        query: of one text, (H, N, D).
        key: (H_kv, N, D), with H a multiple of H_kv.

    Returns:
        (H, N).
    """
    query, key = query.float(), key.float().repeat_interleave(query.shape[0] // key.shape[0], dim=0)
    length = query.shape[1]
    places = torch.arange(length, device=query.device)
    entropies = []
    for start in range(0, length, BLOCK):
        rows = places[start : start + BLOCK]
        scores = (query[:, rows] * scale) @ key.transpose(1, 2)
        shares = torch.softmax(scores.masked_fill(places > rows[:, None], float("-inf")), dim=-1)
        entropies.append(torch.special.entr(shares).sum(-1))
    return torch.cat(entropies, dim=1)


def summing(lengths: Sequence[int], sums: list[torch.Tensor]) -> Observer:
    """An observer of one pass over packed texts with these many tokens, which lie one after the other.

    For every layer that is shown to it, in order, it appends (2, H) float64: per head, the sum over all positions from
    the second on of H_i, and of H_i / ln i. The first position has nothing to choose from.
    """

    def observe(query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        total = torch.zeros(2, query.shape[1], dtype=torch.float64)
        start = 0
        for length in lengths:
            part = slice(start, start + length)
            nats = head_entropies(query[0, :, part], key[0, :, part], scale)[:, 1:].cpu().double()
            most = torch.arange(2, length + 1, dtype=torch.float64).log()
            total += torch.stack([nats.sum(1), (nats / most).sum(1)])
            start += length
        sums.append(total)

    return observe


def means(passes: Iterable[Sequence[torch.Tensor]], positions: int) -> HeadEntropies:
    """The mean entropies over positions from the sums of all passes, layer by layer."""
    layers = torch.stack([torch.stack(list(sums)) for sums in passes]).sum(0) / positions
    return HeadEntropies(layers[:, 0].numpy(), layers[:, 1].numpy())
