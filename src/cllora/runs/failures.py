"""A cell that cannot be finished: recorded in its folder, so that the others go on and whoever comes back knows why."""

import errno
import traceback
from collections.abc import Mapping
from pathlib import Path

from cllora.errors import UsageError, one_line
from cllora.store import FAILED, by_reason, write_json

SHOWN = 3
"""Reasons named in the one line about a study; the rest are counted."""


class CellsFailed(UsageError):
    """The error of a study of which some cells could not be finished; all others are. `failed` has each one's reason by
    its name."""

    def __init__(self, folder: Path, failed: Mapping[str, str], cells: int) -> None:
        super().__init__(_sentence(failed, cells))
        self.folder = folder
        self.failed = dict(failed)
        self.cells = cells

    @property
    def all(self) -> bool:
        return len(self.failed) == self.cells


def stops_the_study(error: Exception) -> bool:
    """Whether an error would meet every other cell too: nothing more can be written."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def record_failure(folder: Path, error: Exception) -> str:
    """Write `failed.json` into a cell's folder and return the line that is in it.

    An error that is no one's mistake in a study but a program's, such as a strategy's, is there with its traceback.
    """
    from torch import OutOfMemoryError

    record: dict[str, object] = {}
    if isinstance(error, UsageError):
        line = str(error)
    elif isinstance(error, OSError):
        line = f"{error.filename or 'file'}: {error.strerror or one_line(error)}"
    elif isinstance(error, MemoryError | OutOfMemoryError):
        mend = "lower local.batch_size or model.context, set model.checkpointing, or take a smaller model"
        line = f"out of memory ({one_line(error, 100)}); {mend}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = f"{type(error).__name__} in line {last.lineno} of {last.filename}: {one_line(error)}"
        record = {"traceback": "".join(traceback.format_exception(error)).splitlines()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FAILED, {"error": line, **record})
    return line


def forget_failure(folder: Path) -> None:
    """Remove the record of an earlier attempt."""
    (folder / FAILED).unlink(missing_ok=True)


def _sentence(failed: Mapping[str, str], cells: int) -> str:
    """The failed cells with their reasons, on one line; a reason that all cells share stands alone."""
    reasons = by_reason(failed)
    if len(reasons) == 1 and len(failed) == cells:
        return next(iter(reasons))
    parts = []
    for reason, names in list(reasons.items())[:SHOWN]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        parts.append(f"{names[0]}{more}: {reason}")
    if len(reasons) > SHOWN:
        parts.append(f"and for {len(reasons) - SHOWN} other reasons")
    return (
        f"{len(failed)} of {cells} cells failed, see {FAILED} in their folders; run again to retry. {'; '.join(parts)}"
    )
