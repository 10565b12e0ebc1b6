"""Seeds that are added until a study is decided: its looks, and which cells go on after each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cllora.analysis import Results, planned_looks, results
from cllora.errors import FieldError
from cllora.metrics import metrics
from cllora.registry import guess
from cllora.spec import Cell, Study, without_seed
from cllora.store import Looks, read_looks, write_looks


def check_primary(study: Study) -> None:
    """Hold the names of the primary metrics against the registry.

    Raises:
        FieldError: one is unknown.
    """
    for name in study.primary:
        if name not in metrics.names():
            raise FieldError(f"primary: unknown metric '{name}'; {guess(name, metrics.names())}", "primary")


def batches(study: Study, folder: Path) -> Iterator[list[Cell]]:
    """The cells of a study, in the batches after each of which it is looked at. Whoever takes them computes each whole
    before asking for the next.

    Where seeds are given there is one. Where they are added until the study is decided, the batch of a look has the
    cells whose comparison is open and their controls, with the seeds up to the look's: first with all of them, up to
    the last look there was, in case that something of it is gone; then with those that are new.
    """
    if study.until is None:
        yield study.cells()
        _note_seeds_by_hand(study, folder)
        return
    planned, cells = planned_looks(study), study.cells()
    so_far = read_looks(folder)
    if so_far.planned != len(planned):  # Another plan decides at another level, so its looks begin anew.
        so_far = Looks(planned=len(planned))
    before, passed, seen = 0, so_far.at[:-1], None
    for look in planned:
        if look in passed:
            continue
        yield [cell for cell in cells if before <= cell.experiment.seed < so_far.seeds_of(cell.setting, look)]
        before = look
        so_far = so_far.then(look)
        write_looks(folder, so_far)
        seen = results(folder, before=seen)
        so_far = _stopped(so_far, look, seen, study.primary)
        write_looks(folder, so_far)
        if all(cell.setting in so_far.stopped for cell in cells):
            return


def _stopped(so_far: Looks, look: int, seen: Results, primary: Sequence[str]) -> Looks:
    """The looks with those cells stopped that are decided: every primary comparison that they are in."""
    names = {seen.cell(run.labels): without_seed(run.folder.name) for run in seen.members}
    open_cells = set()
    for metric in primary:
        rows = seen.contrasts(metric)
        undecided = rows[rows["shows"] == "undecided"]
        open_cells |= {*undecided["cell"], *undecided["control"]}
    decided = {name: so_far.seeds_of(name, look) for cell, name in names.items() if cell not in open_cells}
    return replace(so_far, stopped={**decided, **so_far.stopped})


def _note_seeds_by_hand(study: Study, folder: Path) -> None:
    """Record that a study with given seeds is finished, and so may have been looked at."""
    before = read_looks(folder)
    if len(study.seeds) not in before.at:
        write_looks(folder, before.then(len(study.seeds)))
