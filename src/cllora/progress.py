"""Progress on stderr: bars with rates and time left, over a study's rounds and a corpus's rows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
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

from cllora.errors import say, visible
from cllora.types import OnRead

if TYPE_CHECKING:
    from cllora.runs.engines import Progress

PACE_SECONDS = 4 * 3600
WIDE = 120
"""Columns of a terminal from which on there is room for a cell's name beside the times."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="progress.data.speed")


@dataclass
class Tally:
    """Rounds over a whole study: how many were done, and how many there are to do in all.

    Rounds computed by an earlier process take no time, and the remaining rounds of a failed cell are never computed:
    both are left out, or the estimate of the time left would be wrong. `cells` counts finished and failed cells.
    """

    done: int = 0
    total: int = 0
    cells: int = 0
    failed: int = 0
    _announced: int = 0  # the study's total so far: one that goes on after a look has more
    _reached: dict[int, int] = field(default_factory=dict)  # rounds by the cell's place

    def count(self, progress: "Progress") -> None:
        """Take in one event; the first one brings the study's total, later ones what was added to it."""
        self.total += max(0, progress.total - self._announced)
        self._announced = max(self._announced, progress.total)
        if progress.index not in self._reached:
            # An event of round r says that rounds 0 to r - 1 are there, in this process or from one before.
            before = progress.rounds + 1 if progress.resumed else 0 if progress.failed else progress.round
            self._reached[progress.index] = before
            self.total -= before
        if progress.failed is not None:
            self.failed += 1
            self.total -= progress.rounds + 1 - self._reached[progress.index]
        elif not progress.resumed:
            self.done += 1
            self._reached[progress.index] = progress.round + 1
        if progress.failed is not None or progress.round == progress.rounds:
            self.cells += 1

    def seconds_left(self, elapsed: float) -> float | None:
        """The seconds left at the pace so far; None before the first round."""
        return elapsed / self.done * (self.total - self.done) if self.done else None


def span(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 3 h 5 min."""
    if seconds < 60:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def study_progress() -> Iterator[tuple[Callable[["Progress"], None], OnRead]]:
    """Two callbacks that draw: rounds over the whole study, and rows of a corpus being read."""
    console = Console(stderr=True)
    live = console.is_terminal and not console.is_dumb_terminal
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not live,
        # A round may take minutes; the pace is that of the last hours, not of rich's last 30 seconds.
        speed_estimate_period=PACE_SECONDS,
    )
    tasks: dict[str, int] = {}
    tally, began = Tally(), time.monotonic()

    def on_round(progress: "Progress") -> None:
        cells = tally.cells
        tally.count(progress)
        if not live:
            if tally.cells > cells and not progress.resumed and progress.failed is None:
                _line(tally, progress, time.monotonic() - began)
            return
        if "rounds" not in tasks:
            tasks["rounds"] = int(bars.add_task("rounds", total=tally.total))
        failed = f" [red]({tally.failed} failed)[/red]" if tally.failed else ""
        name = f", {progress.cell.name}" if console.width >= WIDE else ""
        description = f"cell {min(tally.cells + 1, progress.cells)} of {progress.cells}{failed}{name}"
        task = bars.tasks[tasks["rounds"]]
        bars.update(task.id, completed=tally.done, total=tally.total, description=description)

    def on_read(done: int, total: int | None, source: str) -> None:
        if source not in tasks:
            tasks[source] = int(bars.add_task(escape(visible(source)), total=total))
        bars.update(bars.tasks[tasks[source]].id, completed=done, total=total)

    with bars:
        yield on_round, on_read


@contextmanager
def work_progress() -> Iterator[Callable[[str, int | None], None]]:
    """A callback that shows the work being done and its number of tokens, on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _source, _tokens: None
        return
    with console.status("") as status:
        yield lambda source, tokens: status.update(escape(source if tokens is None else f"{source}: {tokens} tokens"))


def _line(tally: Tally, progress: "Progress", elapsed: float) -> None:
    """A line per cell where no bar can be drawn, such as in a log file."""
    left = tally.seconds_left(elapsed)
    when = f", {span(left)} left" if left and tally.cells < progress.cells else ""
    failed = f", {tally.failed} failed" if tally.failed else ""
    say(f"{tally.cells} of {progress.cells} cells, {progress.cell.name}{failed}{when}")
