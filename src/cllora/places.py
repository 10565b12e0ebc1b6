"""Where cllora keeps what it may lose: texts it has read, and what it has found out about the machine."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$CLLORA_CACHE, else $XDG_CACHE_HOME/cllora, else ~/.cache/cllora."""
    if chosen := os.environ.get("CLLORA_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cllora"
