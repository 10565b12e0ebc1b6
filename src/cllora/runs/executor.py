"""Executors compute the cells of a study: for now one after the other, in this process.

An executor is handed all cells, and what computes one of them into its folder. Neither a cell's numbers nor where they
lie depend on it. Locking the folder, trackers and progress are the study's, which iterates what the executor yields.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cllora.spec import Cell


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


Compute = Callable[[Progress], Iterator[Progress]]
"""Computes the cell of a `Progress` that stands at its beginning, and yields one for each round once it is on disk."""


class Executor(Protocol):
    """Computes cells, in any order and anywhere that can write their folders."""

    def __call__(self, compute: Compute, cells: Sequence[Progress]) -> Iterator[Progress]:
        """Yield what `compute` yields for each of the cells, each cell's in its own order.

        Cells that share their texts and their base stand together. What `compute` raises stops the study.
        """
        ...


def serial(compute: Compute, cells: Sequence[Progress]) -> Iterator[Progress]:
    """Compute one cell after the other, in this process."""
    for cell in cells:
        yield from compute(cell)
