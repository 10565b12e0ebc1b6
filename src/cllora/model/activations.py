"""The hidden states of texts above the lower layers (`lower`), computed once and kept.

They are computed for blocks of neighbouring samples, always the same, so that they come to the same last bit whoever
asks first. A text that there is no room for is computed as often as it is asked for.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.model.batches import Packed, packed
from cllora.model.device import on_device
from cllora.model.network import Network
from cllora.model.patterns import FULL, Pattern
from cllora.types import Ids, Samples

BLOCK = {"cpu": 1024, "cuda": 16384}
"""Tokens, about, of the samples that are computed in one pass."""

Bytes = NDArray[np.uint8]


class Store(Protocol):
    """Keeps bytes of samples, as far as there is room."""

    def has_room(self, ids: Ids) -> NDArray[np.bool_]:
        """Whether the bytes of each sample can be kept (len(ids),)."""
        ...

    def read(self, ids: Ids) -> Sequence[Bytes | None]:
        """The bytes of each sample, None where they are not kept."""
        ...

    def write(self, content: Mapping[int, Bytes]) -> None:
        """Keep the bytes of some samples, by their ids, if that can be done."""
        ...


OpenStore = Callable[[NDArray[np.int64]], Store]
"""Makes a store, from the number of bytes of each sample (samples,)."""


class Activations:
    """The states of samples' texts under a pattern of attention, of a network in which there are lower layers."""

    def __init__(
        self, network: Network, samples: Samples, context: int, pattern: Pattern, open_store: OpenStore
    ) -> None:
        assert network.lower is not None
        self._network, self._samples, self._context, self.pattern = network, samples, context, pattern
        self._device, self._dtype = network.device, network.lower.dtype
        self._width = network.lower.width * self._dtype.itemsize
        self._lengths = samples.seen(np.arange(len(samples)), context)
        self._blocks = (np.cumsum(self._lengths) - self._lengths) // BLOCK[self._device.type]
        self._store = open_store(self._lengths * self._width)

    def begun(self, row: Packed) -> Packed:
        """The row with its texts' states; without, where a text is cut shorter than here, under a pattern of attention
        in which that may change the states of what is left."""
        if self.pattern.name != FULL.name and (row.lengths < self._lengths[row.ids]).any():
            return row
        content = self._content(row.ids)
        states = np.zeros((row.tokens.shape[1], self._width), np.uint8)  # filler has zeros
        start = 0
        for sample, length in zip(row.ids.tolist(), row.lengths.tolist(), strict=True):
            states[start : start + length] = content[sample].reshape(-1, self._width)[:length]
            start += length
        return dataclasses.replace(row, states=on_device(states, self._device).view(self._dtype)[None])

    def _content(self, ids: Ids) -> Mapping[int, Bytes]:
        """The states of some samples; of those that are not kept, computed."""
        read = zip(ids.tolist(), self._store.read(ids), strict=True)
        kept = {sample: states for sample, states in read if states is not None}
        missing = np.array(sorted(set(ids.tolist()) - kept.keys()), np.int64)
        has_room = self._store.has_room(missing)
        for block in np.unique(self._blocks[missing[has_room]]):
            computed = self._computed(np.flatnonzero(self._blocks == block))
            self._store.write(computed)
            kept |= computed
        return kept | self._computed(missing[~has_room])

    def _computed(self, ids: Ids) -> dict[int, Bytes]:
        """The states of some samples, computed in one pass."""
        content: dict[int, Bytes] = {}
        budget = int(self._lengths[ids].sum())
        for row in packed(self._samples, [ids], self._context, budget, self._device, self.pattern):
            states = self._network.lower_states(row).contiguous().view(torch.uint8).cpu().numpy()
            for sample, part in zip(row.ids.tolist(), np.split(states, np.cumsum(row.lengths)), strict=False):
                content[sample] = part.reshape(-1)
        return content
