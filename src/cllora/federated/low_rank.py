"""Arithmetic with LoRA's factors at the server: sums of products that are not formed, ranks by client, frozen factors.

The products are as large as the base's own matrices (m, n); a sum of K of rank r is kept as factors of rank K r.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from cllora.errors import UsageError
from cllora.federated.strategy import Setting
from cllora.federated.updates import Updates
from cllora.types import Array, Arrays, Layout, Mask, Matrix, Vector

Ranks = Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None
"""The ranks of clients: client k has entry k modulo their number; all have the full rank where there are none."""
Factors = tuple[Array, Array]
"""A (R, n) and B (m, R), of the product B A."""


class RankedAdapters:
    """Adapters of which every client has the first few ranks alone. Only these cross the network, as a shorter vector.

    Raises:
        UsageError: a rank is over that of the layers.
    """

    def __init__(self, setting: Setting, ranks: Ranks) -> None:
        most = max((matrix.rank for matrix in setting.layout.matrices), default=0)
        self._ranks = ranks or (most,)
        if max(self._ranks) > most:
            raise UsageError(f"federation.strategy.ranks has {max(self._ranks)}, but lora.r is {most}; raise that")
        self._masks = {rank: setting.layout.first_ranks(rank) for rank in self._ranks}
        self._by_length = {int(mask.sum()): rank for rank, mask in self._masks.items()}

    def rank_of(self, client: int) -> int:
        """A client's rank."""
        return self._ranks[client % len(self._ranks)]

    def mask(self, rank: int) -> Mask:
        """The numbers of an adapter that a client of this rank has (P,)."""
        return self._masks[rank]

    def rank_in(self, part: Vector) -> int:
        """The rank of a part of an adapter, from its length."""
        return self._by_length[len(part)]

    def whole(self, part: Vector) -> Vector:
        """A part as a whole adapter (P,), zero in the ranks that it has not."""
        mask = self.mask(self.rank_in(part))
        vector = np.zeros(len(mask), np.float32)
        vector[mask] = part
        return vector

    def received(self, updates: Updates) -> tuple[list[Vector], list[int]]:
        """The adapters that came back, each whole, and their ranks."""
        parts = [update.sent["adapter"] for update in updates]
        return [self.whole(part) for part in parts], [self.rank_in(part) for part in parts]


def stacked(matrix: Matrix, adapters: Sequence[Vector], ranks: Sequence[int], p: Array) -> Factors:
    """sum_k p_k s B_k A_k of a matrix as one product: A = [p_1 A_1; ...], B = [s B_1, ...], the first ranks of each."""
    pairs = [matrix.factors(adapter) for adapter in adapters]
    a = [p_k * a_k[:rank].astype(np.float64) for p_k, rank, (a_k, _) in zip(p, ranks, pairs, strict=True)]
    b = [matrix.scale * b_k[:, :rank].astype(np.float64) for rank, (_, b_k) in zip(ranks, pairs, strict=True)]
    return np.concatenate(a), np.concatenate(b, axis=1)


def best_factors(factors: Factors, rank: int) -> Factors:
    """The best approximation of a product B A by one of a lower rank (Eckart and Young 1936): A = V^T, B = U Sigma.

    At most `rank` singular values are left, the largest; fewer where the factors have fewer ranks.
    """
    (q_a, r_a), (q_b, r_b) = np.linalg.qr(factors[0].T), np.linalg.qr(factors[1])
    u, sigma, v = np.linalg.svd(r_b @ r_a.T)
    u, sigma, v = u[:, :rank], sigma[:rank], v[:rank]
    return v @ q_a.T, q_b @ (u * sigma)


def with_factors(layout: Layout, vector: Vector, factors: Mapping[str, Factors]) -> Vector:
    """An adapter (P,) with other A and B in its first ranks, and B zero in the others."""
    changed = vector.copy()
    for matrix in layout.matrices:
        a, b = factors[matrix.name]
        a_new, b_new = matrix.factors(changed)  # views
        a_new[: len(a)], b_new[:, : len(a)], b_new[:, len(a) :] = a, b, 0
    return changed


def freeze(frozen: Arrays, matrix: Matrix, factors: Factors) -> dict[str, NDArray[np.float32]]:
    """`Model.frozen` of one matrix with a product added to it: factors of a higher rank, or dense if that is less."""
    name, (a, b) = matrix.name, factors
    if not b.any():
        return {key: frozen[key] for key in (name, f"{name}.A", f"{name}.B") if key in frozen}
    if name not in frozen:
        if f"{name}.A" in frozen:
            a, b = np.concatenate([frozen[f"{name}.A"], a]), np.concatenate([frozen[f"{name}.B"], b], axis=1)
        if a.size + b.size <= matrix.rows * matrix.columns:
            return {f"{name}.A": a.astype(np.float32), f"{name}.B": b.astype(np.float32)}
    return {name: (frozen.get(name, 0) + b @ a).astype(np.float32)}


def within(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays that are called `prefix/...`, by the rest of their names."""
    return {key.removeprefix(f"{prefix}/"): array for key, array in arrays.items() if key.startswith(f"{prefix}/")}
