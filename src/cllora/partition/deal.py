"""The deal: the clients' shares of a pool, as two arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def grouped(keys: NDArray[np.int64], num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of `keys` (n,) ordered by key, ties in place, and the groups' offsets (num_groups + 1,).

    A stable counting sort: reading a sparse matrix with one entry per row by its columns. For ten million keys it
    takes a sixth of the time of `numpy.argsort`.
    """
    n = len(keys)
    by_column = csr_array((np.ones(n, np.int8), keys, np.arange(n + 1)), shape=(n, num_groups)).tocsc()
    return by_column.indices.astype(np.int64), by_column.indptr.astype(np.int64)


@dataclass(frozen=True)
class Deal:
    """Client k's positions in the pool are `positions[offsets[k]:offsets[k + 1]]`, ascending.

    `names` are the clients' own, where they have any. `without_owner` is how many positions of the pool
    are nobody's, where a column says whose each is.
    """

    positions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    names: tuple[str, ...] = ()
    without_owner: int = 0

    @classmethod
    def of_owners(cls, owners: NDArray[np.int64], num_clients: int, names: tuple[str, ...] = ()) -> "Deal":
        """Make a deal from the client of every position (n,), -1 for none."""
        order, offsets = grouped(owners + 1, num_clients + 1)
        return cls(order[offsets[1] :], offsets[1:] - offsets[1], names)

    @classmethod
    def of_lists(cls, parts: Sequence[NDArray[np.int64]], names: tuple[str, ...] = ()) -> "Deal":
        """Make a deal from the positions of every client."""
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        empty = np.empty(0, np.int64)
        return cls(np.concatenate([empty, *(np.sort(np.asarray(part, np.int64)) for part in parts)]), offsets, names)

    @property
    def num_clients(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> NDArray[np.int64]:
        """Samples per client. Shape (K,)."""
        return np.diff(self.offsets)

    def clients(self) -> NDArray[np.int64]:
        """The client of every entry of `positions`."""
        return np.repeat(np.arange(self.num_clients), self.sizes())

    def draw(self, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """The entries of `positions` in a draw of `counts[k]` from each client k, every set equally likely."""
        order = rng.permutation(len(self.positions))
        by_client, _ = grouped(self.clients()[order], self.num_clients)
        ranks = np.arange(len(order)) - np.repeat(self.offsets[:-1], self.sizes())
        drawn = np.zeros(len(order), np.bool_)
        drawn[order[by_client]] = ranks < np.repeat(counts, self.sizes())
        return drawn
