"""What is measured of the base itself, once for all cells of a study."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.model.learner import Learner
from cllora.model.load import Base
from cllora.model.memory import forget_peak, peak_memory
from cllora.model.patterns import Pattern
from cllora.spec import LocalSpec
from cllora.store import atomic_write
from cllora.types import Ids, Job, Losses, Samples, Trained, Vector

_T = TypeVar("_T")


class KnownBase(Learner):
    """A learner that measures nothing twice under the untrained base.

    Losses are kept in a file: one number per sample, NaN where it was not asked for. It is written before the losses
    are given away, so that a run that was interrupted finds the same numbers again, to the last bit. What else is
    measured is kept in `known`, which learners may share whose base, context and pattern of evaluation are the same.

    `peaks` has the peak memory of every call of `train` in bytes, None where it cannot be had.
    """

    def __init__(
        self,
        base: Base,
        samples: Samples,
        context: int,
        patterns: tuple[Pattern, Pattern],
        path: Path,
        known: dict[Hashable, Any],
    ) -> None:
        super().__init__(base, samples, context, *patterns)
        self.peaks: list[int | None] = []
        self._path, self._known, self._own = path, known, samples.fingerprint
        self._nll = _read(path, len(samples)) if path.exists() else np.full(len(samples), np.nan)

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> list[Trained]:
        measured = forget_peak(self.base.device)
        trained = super().train(jobs, local, seed)
        self.peaks.append(peak_memory(self.base.device) if measured else None)
        return trained

    def evaluate(self, model: str, adapter: Vector, ids: Ids) -> Losses:
        """As any learner's; where the adapter changes nothing, from the file."""
        if self.samples.fingerprint != self._own or not self.is_base(adapter):
            return super().evaluate(model, adapter, ids)
        new = ids[np.isnan(self._nll[ids])]
        if len(new):
            self._nll[new] = super().evaluate(model, adapter, new).nll
            atomic_write(self._path, self._save)
        return Losses(model, ids, self._nll[ids], self.samples.predicted(ids, self.context))

    def nll(self, samples: Samples, ids: Ids) -> NDArray[np.float64]:
        """The untrained base's summed losses of some samples, which may be other than the learner's own."""
        return self.over(samples).evaluate("base", self.initial(0), ids).nll

    def _under(self, adapter: Vector, what: Hashable, measure: Callable[[], _T]) -> _T:
        if not self.is_base(adapter):
            return super()._under(adapter, what, measure)
        key = (self.samples.fingerprint, what)
        if key not in self._known:
            self._known[key] = super()._under(adapter, what, measure)
        found: _T = self._known[key]
        return found

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
