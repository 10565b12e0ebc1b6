"""How much memory a process and all that it started hold, watched from outside."""

import subprocess
import time
from pathlib import Path

SECONDS = 2.0
"""Between two looks. A look at ten processes takes some 50 ms of one core."""


def run_watched(command: list[str], **options) -> tuple[int, int]:
    """Run a command; its exit status, and the most memory that its process tree held at any look, in bytes.

    Counted is the proportional set size (PSS): what several processes share counts once.
    """
    process = subprocess.Popen(command, **options)
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(proportional_set_size, tree(process.pid))))
        until = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
    return process.returncode, most


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    processes, open_ = [], [pid]
    while open_:
        processes.append(open_.pop())
        for children in Path(f"/proc/{processes[-1]}/task").glob("*/children"):
            try:
                open_ += [int(child) for child in children.read_text(encoding="utf-8").split()]
            except OSError:  # The thread or the process has ended.
                continue
    return processes


def proportional_set_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # The process has ended.
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
