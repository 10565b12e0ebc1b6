"""The folder of a study: what it holds is one study, and one process at a time works in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cllora.errors import UsageError
from cllora.spec import Study
from cllora.store import read_json, write_json


@contextmanager
def study_folder(folder: Path, study: Study) -> Iterator[None]:
    """Make or check the study's folder, and keep other processes out of it while it is worked in.

    Raises:
        UsageError: it cannot be written to, another process is at work in it, or it holds another study.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except Timeout:
        raise UsageError(
            f"another process is running a study in {folder}; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
    with held:
        _record(folder / "study.json", study)
        yield


def _record(path: Path, study: Study) -> None:
    """Write the study down, unless it is; one that was registered before stays so."""
    before = read_json(path) if path.exists() else None
    if before is not None:
        recorded = Study.parse(before)
        if not _extends(study, recorded):
            raise UsageError(f"{path.parent} holds another study; choose another --out, or remove the folder")
        if study.registration is None:
            study = study.model_copy(update={"registration": recorded.registration})
    record = json.loads(json.dumps(study.to_mapping()))
    del record["engine"], record["activations_gb"]  # Where and how fast is no part of what a study is.
    if before != record:
        write_json(path, record)


def _extends(study: Study, before: Study) -> bool:
    """Whether every cell of the study before is one of this: seeds and values may be added, nothing changed."""
    cells = {cell.name: cell.experiment for cell in study.cells()}
    return study.control == before.control and all(cells.get(cell.name) == cell.experiment for cell in before.cells())
