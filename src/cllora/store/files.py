"""Writing a file so that a reader, or a process that was killed, finds all of it or the one before."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from cllora.errors import UsageError
from cllora.places import to_disk

Object = dict[str, Any]  # what a JSON file holds; its reader knows the shape


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one rename.

    Raises:
        OSError: the disk is full or the folder cannot be written; what stood at `path` is untouched.
    """
    # A run's folder has one writer, so one name will do, and a killed process leaves at most one such file.
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        to_disk(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def lock_of(path: Path) -> FileLock:
    """The lock of what several processes may make or write at `path`: a file in the folder `.locks` beside it."""
    folder = path.parent / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{path.name}.lock")


def append_line(path: Path, line: str) -> None:
    """Append one line, its end included, and see it to the disk."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Mapping[str, object]) -> None:
    atomic_write(path, lambda partial: write_text(partial, json.dumps(value, indent=2, allow_nan=False) + "\n"))


def read_json(path: Path) -> Object:
    """An object from a JSON file.

    Raises:
        UsageError: no such file, or it is damaged.
    """
    try:
        value: Object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it holds no JSON object")
    return value


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8 with lines that end in a line feed, whatever the machine's own are."""
    path.write_text(text, encoding="utf-8", newline="\n")
