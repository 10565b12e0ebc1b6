"""Engines compute the cells of a study. No number depends on where they do, nor where a number lies on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cllora.errors import UsageError
from cllora.registry import Registry
from cllora.runs.study_cache import shared_parts
from cllora.spec import Cell

if TYPE_CHECKING:
    from cllora.runs.engines.pool import Pool


@dataclass(frozen=True)
class Progress:
    """The progress of a study: a round of a cell is done, or a cell that was finished before is passed over
    (`resumed`), or one could not be finished (`failed` says why). `total` counts the rounds of all cells, each one's
    round 0 included.

    `record` is the round's line of `rounds.jsonl`; None where no round was computed.
    """

    cell: Cell
    cells: int
    index: int
    round: int
    rounds: int
    resumed: bool
    total: int = 0
    failed: str | None = None
    record: Mapping[str, Any] | None = None  # Any: a record's values are of the kinds that JSON has

    @property
    def over(self) -> bool:
        """Whether nothing more will come of this cell."""
        return self.failed is not None or self.round == self.rounds


class Work(Protocol):
    """Computes a cell into its folder. It can be sent to another process, and be sent again: a cell goes on after its
    last whole round, and one that another process is at is waited for."""

    @property
    def folder(self) -> Path:
        """The study's."""
        ...

    def prepare(self, cells: Sequence[Progress]) -> None:
        """Make what the cells share and is kept on disk, before several processes come to need it."""
        ...

    def __call__(self, begin: Progress) -> Iterator[Progress]:
        """Compute the cell that stands at its beginning; a `Progress` for each round, once it is on disk."""
        ...

    def together(self, begins: Sequence[Progress]) -> Iterator[Progress]:
        """Compute the cells of a group (`groups_of`), in the same passes over their base."""
        ...

    def spread(self, pool: "Pool") -> None:
        """Have the workers of a pool train the clients of cells, and evaluate, from now on."""
        ...


class Engine(Protocol):
    """Computes cells, in any order and anywhere that can write their folders.

    One that computes several in the same passes says how many at most in `together` (see `together_of`).
    """

    @property
    def threads(self) -> int:
        """Threads that compute a cell. Sums over more threads round differently: a study has one number for all."""
        ...

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        """Yield what `work` yields for each of the cells, each cell's in its own order.

        Cells that share their texts and their base stand together. What `work` raises stops the study.
        """
        ...


@dataclass(frozen=True)
class Setting:
    """The facts of a study that an engine may use.

    folder: the study's.
    cells: those that are not finished yet.
    threads: those of a cell, if the study began with a number of them.
    only_here: a name in the study that only this process knows, such as `strategy 'mine'`.
    together: the number of cells that are computed in the same passes, if the study began with one.
    """

    folder: Path
    cells: Sequence[Cell]
    threads: int | None = None
    only_here: str | None = None
    together: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """Facts that an engine states of itself: the `package` that it needs, and the `extra` of cllora that brings it."""

    package: str | None = None
    extra: str | None = None


def together_of(engine: Engine) -> int:
    """The number of cells that an engine computes in the same passes; 1 where it says nothing of it.

    Products over more rows round differently: a study keeps to one number of these, as of threads.
    """
    return int(getattr(engine, "together", 1))


def groups_of(cells: Sequence[Progress], together: int) -> list[list[Progress]]:
    """The cells that are computed together: neighbours that share their texts and their base, `together` at most.

    Decided by their places in the study, so that a study that was interrupted goes on in the same groups.
    """

    def group(begin: Progress) -> tuple[int, tuple[str, str]]:
        return begin.index // together, shared_parts(begin.cell.experiment)

    return [list(group) for _, group in groupby(cells, group)]


def elsewhere(setting: Setting) -> None:
    """Make sure that other processes know all that a study names.

    Raises:
        UsageError: something is registered by this program alone.
    """
    if setting.only_here is not None:
        raise UsageError(
            f"{setting.only_here} is registered by this program alone, and other processes do not know it; put it into "
            "a file that the study names under load, or set engine to inline"
        )


engines: Registry[Callable[..., Engine], EngineFacts] = Registry("engine", EngineFacts)
"""Functions from a `Setting` and options to an `Engine`."""
