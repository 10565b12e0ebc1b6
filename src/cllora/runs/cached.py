"""Measurements of the base itself, made once for all cells of a study."""

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.model.engine import Engine, Evaluation, HeadEntropies, TokenLosses
from cllora.model.patterns import Pattern
from cllora.runs.wrapped import Wrapped
from cllora.store import atomic_write, lock_of
from cllora.types import Ids, Losses, Model, Samples, Vector

_T = TypeVar("_T")
Memo = MutableMapping[Hashable, Any]  # by what was measured, of the type that it gives


class LossFile:
    """The untrained base's losses of some samples in a file: one number per sample, NaN where none was asked for."""

    def __init__(self, path: Path, samples: Samples) -> None:
        self._path = path
        self._nll = _read(path, len(samples)) if path.exists() else np.full(len(samples), np.nan)

    def nll(self, ids: Ids, measure: Callable[[Ids], NDArray[np.float64]]) -> NDArray[np.float64]:
        """The losses of some samples, those that are missing measured.

        The file is written before the losses are given away, so that a run that was interrupted finds the same numbers
        again, to the last bit.
        """
        if np.isnan(self._nll[ids]).any():
            with lock_of(self._path):
                self._measure(ids, measure)
        return self._nll[ids]

    def _measure(self, ids: Ids, measure: Callable[[Ids], NDArray[np.float64]]) -> None:
        """Measure what neither this process nor another has, which may have been at it while this one waited."""
        if self._path.exists():
            self._nll = _read(self._path, len(self._nll))
        missing = ids[np.isnan(self._nll[ids])]
        if len(missing):
            self._nll[missing] = measure(missing)
            atomic_write(self._path, self._save)

    def _save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._nll)


class Cached(Wrapped):
    """An engine that measures nothing twice under the untrained base, wrapped around another; it trains as that does.

    Losses of the engine's own samples are kept in `losses`. Everything else is kept in `memo`, which engines may share
    whose base, context and pattern of evaluation are the same.
    """

    def __init__(self, inner: Engine, losses: LossFile | None, memo: Memo) -> None:
        super().__init__(inner)
        self._losses = losses
        self._memo = memo

    def over(self, samples: Samples) -> Self:
        """The same over other samples; their losses are in no file."""
        if samples.fingerprint == self.samples.fingerprint:
            return self
        return type(self)(self._inner.over(samples), None, self._memo)

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        """Evaluate as any engine; where the adapter changes nothing, and all of the context is read, from the file."""
        kept = self._from_file(Evaluation(model, adapter, ids, context))
        return self._inner.evaluate(model, adapter, ids, context) if kept is None else kept

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        kept = [self._from_file(evaluation) for evaluation in evaluations]
        asked = [evaluation for evaluation, losses in zip(evaluations, kept, strict=True) if losses is None]
        measured = iter(self._inner.evaluate_all(asked))
        return [next(measured) if losses is None else losses for losses in kept]

    def _from_file(self, asked: Evaluation) -> Losses | None:
        """The losses of the base, where it is that which is asked for, and all of the context is read."""
        if self._losses is None or asked.context not in (None, self.context) or not self.is_base(asked.adapter):
            return None
        measure = self._inner.evaluate
        nll = self._losses.nll(asked.ids, lambda missing: measure(asked.model, asked.adapter, missing).nll)
        return Losses(asked.model, asked.ids, nll, self.samples.predicted(asked.ids, self.context))

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        pattern = pattern or self.patterns["evaluation"]
        measurement = ("token_losses", ids.tobytes(), pattern.name, pattern.group)
        return self._once(adapter, measurement, lambda: self._inner.token_losses(adapter, ids, pattern))

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        return self._once(adapter, ("recall", ids.tobytes()), lambda: self._inner.recall(adapter, ids))

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        return self._once(adapter, ("head_entropies", ids.tobytes()), lambda: self._inner.head_entropies(adapter, ids))

    def _once(self, adapter: Model | Vector, measurement: Hashable, measure: Callable[[], _T]) -> _T:
        """The result of `measure`; of the base, from the memo. `measurement` names it and all it depends on but the
        samples."""
        if not self.is_base(adapter):
            return measure()
        key = (self.samples.fingerprint, measurement)
        if key not in self._memo:
            self._memo[key] = measure()
        kept: _T = self._memo[key]
        return kept


def _read(path: Path, samples: int) -> NDArray[np.float64]:
    try:
        nll: NDArray[np.float64] = np.load(path)
    except (ValueError, EOFError):
        nll = np.zeros(0)
    if nll.shape != (samples,) or nll.dtype != np.float64:
        raise UsageError(f"{path} is damaged; remove it and run again")
    return nll
