"""Places on the disk: the folders of what cllora may lose, paths as a user writes them, and files seen to the disk."""

import os
from pathlib import Path

from cllora.errors import UsageError


def cache_folder() -> Path:
    """$CLLORA_CACHE, else $XDG_CACHE_HOME/cllora, else ~/.cache/cllora."""
    if chosen := os.environ.get("CLLORA_CACHE"):
        return expanded(chosen, "CLLORA_CACHE: ")
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cllora"


def expanded(place: str | Path, prefix: str = "") -> Path:
    """A path as a user writes it, with `~` and `~name` for the home folders that they stand for.

    Raises:
        UsageError: there is no such user.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError:
        raise UsageError(f"{prefix}there is no home folder for {place}; write the folder out") from None


def to_disk(path: Path) -> None:
    """See a file that was written to the disk. Windows asks for it to be open for writing."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
