"""Folders that appear whole or not at all, whoever else is writing and whenever the process is killed."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cllora.errors import UsageError, one_line

LEFTOVER_SECONDS = 24 * 3600
"""A half-written folder that nobody has touched for so long belongs to a process that was killed."""


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """An empty folder in `root` to write in; what is not published by the end is removed."""
    with cache_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)
        folder = root / f"tmp-{uuid.uuid4().hex}"
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, place: Path) -> None:
    """Rename a finished folder to its place in one step. Where another process was quicker, its folder stays."""
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise


@contextmanager
def cache_errors(root: Path) -> Iterator[None]:
    """Turn a failed write (a full disk, no permission) into a line that says what to do."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write the cache {root}: {error.strerror or one_line(error)}; "
            "make room, or set CLLORA_CACHE to another folder"
        ) from error


def _remove_leftovers(root: Path) -> None:
    for folder in root.glob("tmp-*"):
        try:
            touched = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        except FileNotFoundError:  # its owner has just finished
            continue
        if time.time() - touched > LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
