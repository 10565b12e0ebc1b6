"""Notices of workers: lines in files of the study's folder, which the driver reads and says once."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("cllora")

FOLDER = ".notices"


class _ToFile(logging.Handler):
    """A handler that appends a line of JSON for each record."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([record.levelno, record.getMessage()]) + "\n")


@contextmanager
def kept_for_the_driver(study: Path) -> Iterator[None]:
    """Write what is logged meanwhile into the study's folder, and nowhere else."""
    handler = _ToFile(study / FOLDER / f"{socket.gethostname()}-{os.getpid()}.jsonl")
    before, log.handlers, log.propagate = log.handlers, [handler], False
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = before, True
        log.setLevel(level)


class _Remember(logging.Handler):
    """A handler that keeps what is said in this process."""

    def __init__(self, spoken: set[str]) -> None:
        super().__init__()
        self._spoken = spoken

    def emit(self, record: logging.LogRecord) -> None:
        self._spoken.add(record.getMessage())


class Notices:
    """The notices of workers so far; a line that several of them say, or this process said before, is said once."""

    def __init__(self, study: Path) -> None:
        self._folder = study / FOLDER
        self._spoken: set[str] = set()
        self._read: dict[Path, int] = {}
        self._heard = _Remember(self._spoken)
        log.addHandler(self._heard)
        shutil.rmtree(self._folder, ignore_errors=True)  # of a driver that was killed

    def read(self) -> None:
        """Say what is new."""
        for file in sorted(self._folder.glob("*.jsonl")):
            with file.open(encoding="utf-8") as lines:
                lines.seek(self._read.get(file, 0))
                whole, _, _ = lines.read().rpartition("\n")
                self._read[file] = self._read.get(file, 0) + len(whole.encode()) + bool(whole)
            for level, message in map(json.loads, whole.splitlines()):
                self._say(level, message)

    def _say(self, level: int, message: str) -> None:
        if message not in self._spoken:
            self._spoken.add(message)  # whatever level is heard here
            log.log(level, "%s", message)

    def close(self) -> None:
        """Say the rest, and leave nothing in the study's folder."""
        self.read()
        log.removeHandler(self._heard)
        shutil.rmtree(self._folder, ignore_errors=True)
