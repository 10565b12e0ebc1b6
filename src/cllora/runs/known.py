"""The base's own losses, measured once for all cells of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.model.learner import Learner
from cllora.model.memory import forget_peak, peak_memory
from cllora.spec import LocalSpec
from cllora.store import atomic_write
from cllora.types import Ids, Job, Losses, Samples, Trained, Vector


class KnownBase:
    """A learner that evaluates each sample under the untrained base once, and keeps its loss in a file.

    The file holds one number per sample, NaN where it was not asked for. It is written before the losses are given
    away, so that a run that was interrupted finds the same numbers again, to the last bit.

    `peaks` has the peak memory of every call of `train` in bytes, None where it cannot be had.
    """

    def __init__(self, learner: Learner, path: Path) -> None:
        self.learner = learner
        self.layout = learner.layout
        self.peaks: list[int | None] = []
        self._path = path
        self._nll = _read(path, len(learner.samples)) if path.exists() else np.full(len(learner.samples), np.nan)

    def initial(self, seed: int) -> Vector:
        return self.learner.initial(seed)

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> list[Trained]:
        device = self.learner.base.device
        measured = forget_peak(device)
        trained = self.learner.train(jobs, local, seed)
        self.peaks.append(peak_memory(device) if measured else None)
        return trained

    def attention(self, adapter: Vector, ids: Ids) -> dict[str, list[list[float]]]:
        return self.learner.attention(adapter, ids)

    def by_position(self, adapters: Mapping[str, Vector], ids: Ids) -> dict[str, Any]:
        return self.learner.by_position(adapters, ids)

    def passkey(self, adapters: Mapping[str, Vector], keys: int, seed: int) -> dict[str, Any]:
        return self.learner.passkey(adapters, keys, seed)

    def evaluate(self, model: str, adapter: Vector, ids: Ids) -> Losses:
        """As the learner's own; where the adapter changes nothing, from the file."""
        if not self.learner.is_base(adapter):
            return self.learner.evaluate(model, adapter, ids)
        new = ids[np.isnan(self._nll[ids])]
        if len(new):
            self._nll[new] = self.learner.evaluate(model, adapter, new).nll
            atomic_write(self._path, self._save)
        return Losses(model, ids, self._nll[ids], self.learner.samples.predicted(ids, self.learner.context))

    def nll(self, samples: Samples, ids: Ids) -> NDArray[np.float64]:
        """The untrained base's summed losses of some samples, which may be other than the learner's own."""
        known = self if samples.fingerprint == self.learner.samples.fingerprint else self.learner.over(samples)
        return known.evaluate("base", known.initial(0), ids).nll

    def _save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._nll)


def _read(path: Path, samples: int) -> NDArray[np.float64]:
    try:
        found: NDArray[np.float64] = np.load(path)
    except (ValueError, EOFError):
        found = np.zeros(0)
    if found.shape != (samples,) or found.dtype != np.float64:
        raise UsageError(f"{path} is damaged; remove it and run again")
    return found
