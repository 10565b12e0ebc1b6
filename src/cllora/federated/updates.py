"""The clients' updates of a round, as a server may see them."""

from collections.abc import Iterator, Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.types import Array, Update, Vector

Weighting = Literal["samples", "tokens", "uniform"]
Needs = Literal["sums", "each"]


def shares(updates: Sequence[Update], weighting: Weighting) -> Array:
    """p_k, each client's share of the samples or of the tokens that were trained on, or an equal one (K,)."""
    n = np.array([{"samples": u.samples, "tokens": u.tokens, "uniform": 1}[weighting] for u in updates], np.float64)
    return np.asarray(n / n.sum())


def mean(updates: Sequence[Update], weighting: Weighting, key: str = "adapter") -> Array:
    """sum_k p_k w_k over what the clients sent as `key`, in float64; p_k are their `shares`."""
    total = np.zeros(updates[0].sent[key].shape)
    for p_k, update in zip(shares(updates, weighting), updates, strict=True):
        total += p_k * update.sent[key].astype(np.float64)
    return total


def float32(vector: NDArray[np.float64]) -> Vector:
    """The values in float32; those too large become infinite, which the round refuses by name."""
    with np.errstate(over="ignore"):
        return vector.astype(np.float32)


class Updates(Sequence[Update]):
    """The updates of a round, sorted by client. A strategy that needs sums alone is not shown them one by one."""

    def __init__(self, updates: Sequence[Update], needs: Needs = "each") -> None:
        self._updates = tuple(sorted(updates, key=lambda update: update.client))
        self._needs = needs

    def mean(self, key: str = "adapter", weighting: Weighting = "samples") -> Array:
        """sum_k p_k w_k over what the clients sent as `key`, in float64; p_k = n_k / sum n, n_k by `weighting`."""
        return mean(self._updates, weighting, key)

    def __len__(self) -> int:
        return len(self._updates)

    @property
    def _single_updates(self) -> tuple[Update, ...]:
        if self._needs == "sums":
            raise UsageError(
                "the strategy looks at single updates, but says that sums are enough; give it Strategy(..., "
                'needs="each")'
            )
        return self._updates

    def __iter__(self) -> Iterator[Update]:
        return iter(self._single_updates)

    @overload
    def __getitem__(self, place: int) -> Update: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Update]: ...
    def __getitem__(self, place: int | slice) -> Update | Sequence[Update]:
        return self._single_updates[place]
