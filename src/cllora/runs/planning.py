"""Planning a study before it is run: a pilot where nothing like it was measured, and its registration."""

from collections.abc import Callable
from pathlib import Path

from cllora.analysis import Plan, check_control, plan_of, results
from cllora.errors import UsageError
from cllora.runs.engines import Progress
from cllora.runs.study import check, run
from cllora.runs.study_folder import study_folder
from cllora.spec import Registration, Study
from cllora.types import OnRead

PILOT = "pilot"
"""The folder of a pilot, in that of its study."""
PILOT_SEED = 1_000_000
"""The first seed of a pilot: far from a study's own."""


def plan(
    study: Study,
    folder: Path,
    *,
    like: Path | None = None,
    pilot: int = 4,
    on_progress: Callable[[Progress], None] | None = None,
    on_corpus: OnRead | None = None,
) -> Plan:
    """The plan of a study, from the folder of one that is like it, or from a pilot of so many seeds, in the study's
    folder, that are none of the study's.

    Raises:
        UsageError: the study has no control; some of it was run before; or what was measured says nothing of it.
    """
    check(study)
    check_control(study)
    _check_nothing_was_run(study, folder)
    source = like or run(_pilot_of(study, pilot), folder / PILOT, on_progress=on_progress, on_corpus=on_corpus)
    return plan_of(study, results(source))


def register(study: Study, folder: Path, registration: Registration) -> Path:
    """Write a study with its registration into its folder, and return the file.

    Raises:
        UsageError: some of it was run before, so that nothing can be registered beforehand any more; or the folder
            holds another study.
    """
    _check_nothing_was_run(study, folder)
    with study_folder(folder, study.model_copy(update={"registration": registration})):
        pass
    return folder / "study.json"


def _check_nothing_was_run(study: Study, folder: Path) -> None:
    if any((folder / cell.name).exists() for cell in study.cells()):
        raise UsageError(f"{folder} holds cells of it already: what is registered now would not be so beforehand")


def _pilot_of(study: Study, seeds: int) -> Study:
    """A few seeds of a study that are none of its own."""
    if seeds < 2:
        raise UsageError(f"a pilot of {seeds} seeds shows no spread; give 2 or more")
    written = {**study.to_mapping(), "seeds": list(range(PILOT_SEED, PILOT_SEED + seeds))}
    written.pop("registration", None)
    return Study.parse(written, (), study.places)
