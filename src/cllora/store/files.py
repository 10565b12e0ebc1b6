"""Writing a file so that a reader, or a process that was killed, finds all of it or the one before."""

import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one rename.

    Raises:
        OSError: the disk is full or the folder cannot be written; what stood at `path` is untouched.
    """
    # A run's folder has one writer, so one name will do, and a killed process leaves at most one such file.
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append one line, its end included, and see it to the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
