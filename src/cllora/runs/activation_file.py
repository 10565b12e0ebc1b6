"""The file of activations of a study: what `model.activations` keeps, for all cells and processes."""

import io
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from cllora.types import Ids

log = logging.getLogger("cllora")

DIGEST = 8
Bytes = NDArray[np.uint8]


class ActivationFile:
    """Bytes of samples in a file that has a place for each of them, after a digest; a place not written is a hole.

    Several processes may write at once, since they write the same. Where the digest is wrong, because the place is
    being written, was not written to its end or was damaged, the sample is not there.

    Args:
        sizes: the bytes of each sample (samples,).
        most: the bytes that the file may have. It takes at most half of what is free on the disk, too.
    """

    def __init__(self, path: Path, sizes: NDArray[np.int64], most: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._sizes = path, sizes
        self._ends = np.cumsum(sizes + DIGEST)
        self._most = min(most, shutil.disk_usage(path.parent).free // 2)

    def has_room(self, ids: Ids) -> NDArray[np.bool_]:
        """Whether the place of each sample is within the file (len(ids),)."""
        inside: NDArray[np.bool_] = self._ends[ids] <= self._most
        return inside

    def read(self, ids: Ids) -> list[Bytes | None]:
        """The bytes of each sample, None for one that is not there."""
        try:
            with self._path.open("rb", buffering=0) as file:
                return [self._read(file, sample) for sample in ids.tolist()]
        except OSError:
            return [None] * len(ids)

    def write(self, content: Mapping[int, Bytes]) -> None:
        """Write the bytes of the samples that there is room for. If that fails, such as on a full disk, a warning says
        so, and there is no more room from then on."""
        try:
            self._path.touch()
            with self._path.open("r+b", buffering=0) as file:
                for sample, states in content.items():
                    if self._ends[sample] <= self._most:
                        file.seek(self._begin(sample))
                        file.write(_digest(sample, states) + states.tobytes())
        except OSError as error:
            log.warning("cannot keep activations in %s (%s); they are computed each time", self._path, error.strerror)
            self._most = 0

    def _read(self, file: io.FileIO, sample: int) -> Bytes | None:
        content = np.empty(DIGEST + self._sizes[sample], np.uint8)
        file.seek(self._begin(sample))
        whole = file.readinto(content.data) == len(content)
        states = content[DIGEST:]
        return states if whole and content[:DIGEST].tobytes() == _digest(sample, states) else None

    def _begin(self, sample: int) -> int:
        return int(self._ends[sample] - self._sizes[sample] - DIGEST)


def _digest(sample: int, states: Bytes) -> bytes:
    return xxhash.xxh3_64_digest(states.data, seed=sample)
