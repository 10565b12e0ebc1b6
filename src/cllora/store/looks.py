"""The looks at a study: at how many seeds it was looked at, and how many of each cell's counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cllora.store.files import read_json, write_json

FILE = "looks.json"


@dataclass(frozen=True)
class Looks:
    """The looks at a study so far.

    at: the seeds at each, in order.
    stopped: the cells (by name, without the seed) that were decided, and the seeds that they have.
    planned: the number of looks that the study has at most; None where its seeds are given, and added by hand.
    """

    at: tuple[int, ...] = ()
    stopped: Mapping[str, int] = field(default_factory=dict)
    planned: int | None = None

    def seeds_of(self, cell: str, look: int) -> int:
        """The seeds that count of a cell at a look."""
        return min(look, self.stopped.get(cell, look))

    def then(self, look: int) -> "Looks":
        """These and one more."""
        return self if look in self.at else replace(self, at=(*self.at, look))


def read_looks(folder: Path) -> Looks:
    """The looks at the study in a folder; none where there is no record.

    Raises:
        UsageError: the file is damaged.
    """
    if not (folder / FILE).is_file():
        return Looks()
    written = read_json(folder / FILE)
    return Looks(tuple(written["at"]), dict(written["stopped"]), written["planned"])


def write_looks(folder: Path, looks: Looks) -> None:
    write_json(folder / FILE, {"at": list(looks.at), "stopped": dict(looks.stopped), "planned": looks.planned})
