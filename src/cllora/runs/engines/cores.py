"""The cores, memory and GPU of this machine, asked without loading torch, which takes seconds."""

from pathlib import Path
from shutil import which

import loky
import psutil

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files that say how much memory a container may take, of version 2 of control groups and of version 1."""


def cores() -> int:
    """Cores that this process may use; affinity and a container's share of them are counted in."""
    return int(loky.cpu_count())


def free_memory() -> int:
    """Bytes that are free, or that the container is still allowed to take if those are fewer."""
    free = int(psutil.virtual_memory().available)
    for file in LIMITS:
        limit = Path(file).read_text(encoding="ascii").strip() if Path(file).exists() else ""
        if limit.isdecimal():
            free = min(free, max(0, int(limit) - int(psutil.Process().memory_info().rss)))
    return free


def may_have_gpu() -> bool:
    """Tell whether there is a sign of a GPU that torch could use: torch itself is to be asked then."""
    return which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
