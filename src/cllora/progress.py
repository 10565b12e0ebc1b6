"""Progress on stderr: bars with rates and time left, over a study's rounds and a corpus's rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from cllora.runs.study import Progress

OnCorpus = Callable[[int, int | None, str], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="progress.data.speed")


@contextmanager
def study_progress() -> Iterator[tuple[Callable[["Progress"], None], OnCorpus]]:
    """Two callbacks that draw: rounds over the whole study, and rows of a corpus being read."""
    console = Console(stderr=True)
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks: dict[str, int] = {}

    def on_round(progress: "Progress") -> None:
        if "rounds" not in tasks:
            tasks["rounds"] = int(bars.add_task("rounds", total=progress.cells * (progress.rounds + 1)))
        task = bars.tasks[tasks["rounds"]]
        if progress.resumed:
            # What was there before took no time now: leave it out of the rate.
            bars.update(task.id, total=(task.total or 0) - progress.rounds - 1, description=progress.cell.name)
        else:
            bars.update(task.id, advance=1, description=progress.cell.name)

    def on_corpus(done: int, total: int | None, what: str) -> None:
        if what not in tasks:
            tasks[what] = int(bars.add_task(what, total=total))
        bars.update(bars.tasks[tasks[what]].id, completed=done, total=total)

    with bars:
        yield on_round, on_corpus
