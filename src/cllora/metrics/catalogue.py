"""The catalogue of metrics: what is computed from a run's record, what it is called, and how it is shown.

A metric is one registered function from a `RunRecord` to a number. What it says of itself here (title, unit, which
direction is better) is all that tables, the forest plot, LaTeX, the terminal and trackers know of it.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Literal, TypeVar

from cllora.errors import UsageError
from cllora.metrics.formats import megabytes, number, percent
from cllora.metrics.record import RunRecord
from cllora.registry import Names

Better = Literal["lower", "higher", ""]
"""The direction of better values; empty where neither is."""

Texts = Literal["shared", "own"]
"""The texts that a metric is of: those that all runs of a seed share, such as the global test set, or the clients' own
test texts, which are others in another partition. What is of clients' own is compared only between runs whose clients
are tested on the same."""

Place = Literal["table", "terminal", "forest"]
"""The places where the report shows a metric: a column of the page's table of results, one of the terminal's, a forest
plot."""

EVERYWHERE: tuple[Place, ...] = ("table", "terminal", "forest")

COLUMNS = ("cell", "seed", "progress", "fingerprint", "tests")
"""The columns of the table of runs beside metrics; no metric can be called so."""

Compute = Callable[[RunRecord], float] | Callable[[RunRecord, RunRecord], float]
"""A function of a run; or, with a second argument, of a run and of its control: the control's run of the same seed and
data."""

C = TypeVar("C", bound=Compute)


@dataclass(frozen=True)
class Unit:
    """The unit of a metric.

    Attributes:
        name: as it stands behind a number or at an axis; empty for a pure number.
        margin: differences smaller than this count as none, in the metric's unit; None where no margin is known of
            itself, so that a difference can be shown but equivalence cannot.
        show: formats a value; what it shows is in the unit called `name`, or has a sign of its own (`99.963 %`).
        scale: how many of the values' own unit are one of that called `name`: 1e6 for bytes that are shown in MB.
        of_gain: whether the margin is the study's share (`margin`) of what training gains in the control; for losses.
    """

    name: str
    margin: float | None
    show: Callable[[float], str]
    scale: float = 1.0
    of_gain: bool = False

    def signed(self, difference: float) -> str:
        """Format a difference: `show` with a plus sign where it is positive."""
        text = self.show(difference)
        return f"+{text}" if difference > 0 else text


MARGIN = 0.1
"""The margin of losses, as a share of what training gains in the control, where a study names none."""

NATS = Unit("nats per token", None, number, of_gain=True)
SCATTER = Unit("nats per token", None, number)
"""Losses of which no margin is known, such as how far a loss swings."""
SQUARED_NATS = Unit("squared nats per token", None, lambda x: number(x, 5))
BITS = Unit("bits per byte", None, number)
ROUNDS = Unit("rounds", None, lambda x: number(x, 0 if float(x).is_integer() else 1))
COUNT = Unit("", None, lambda x: number(x, 0 if float(x).is_integer() else 1))
BYTES = Unit("MB", None, megabytes, scale=1e6)
"""Sizes, which are counted in bytes and shown in MB (10^6)."""
MEGABYTES = Unit("MB", None, lambda x: number(x, 0))
SECONDS = Unit("seconds", None, lambda x: number(x, 0))
SHARE = Unit("share", None, percent)
RATIO = Unit("", None, number)
LOG_RATIO = Unit("", math.log(1.25), number)
"""Logarithms of ratios: a quarter more, or a fifth less, counts as none."""


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        title: names the number in a heading or a sentence, without its unit.
        short: names it where there is little room.
        places: where the report shows it; its numbers are in the files and in `cllora.results` in any case.
        format: formats a value; by default as the unit does.
        texts: the texts that it is of, see `Texts`.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    compute: Compute
    short: str
    places: tuple[Place, ...]
    format: Callable[[float], str]
    texts: Texts

    @property
    def margin(self) -> float:
        """The largest difference that counts as none, in the metric's unit; NaN where none is known of itself, as
        that of a loss."""
        return math.nan if self.unit.margin is None else self.unit.margin

    @property
    def against_control(self) -> bool:
        """Whether it is computed from a run and its control."""
        return len(_positional(self.compute)) > 1

    def value(self, *records: RunRecord) -> float:
        """Compute the metric of a run (and of its control, if it is `against_control`).

        Raises:
            UsageError: the function failed, or gave no number.
        """
        try:
            value: object = self.compute(*records)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise UsageError(f"metric '{self.name}' failed on {records[0].folder}: {problem}") from error
        if isinstance(value, bool) or not isinstance(value, Real):
            kind = type(value).__name__
            raise UsageError(f"metric '{self.name}' returned a {kind}; return a number, or math.nan without one")
        return value  # type: ignore[return-value]  # an int stays one, so that counts are written without a point


class Metrics(Names[Compute]):
    """The registry of metrics, in the order in which tables show them."""

    def __init__(self) -> None:
        super().__init__("metric")
        self._about: dict[Compute, Metric] = {}

    def register(
        self,
        name: str | None = None,
        *,
        title: str,
        unit: Unit,
        better: Better = "",
        short: str = "",
        places: tuple[Place, ...] = EVERYWHERE,
        format: Callable[[float], str] | None = None,
        texts: Texts = "shared",
    ) -> Callable[[C], C]:
        """Register a function of a `RunRecord`, or of a run's and its control's, as a metric; see `Metric`."""

        def add(function: C) -> C:
            key = name or function.__name__
            if len(_positional(function)) not in (1, 2):
                raise UsageError(f"metric '{key}' takes a run, or a run and its control; give it one or two arguments")
            if key in COLUMNS:
                raise UsageError(f"metric '{key}' would hide the column of that name in the table of runs; rename it")
            self.add(key, function)
            show = format or unit.show
            self._about[function] = Metric(key, title, unit, better, function, short or title, places, show, texts)
            return function

        return add

    def metric(self, name: str) -> Metric:
        """The metric with all that it says of itself.

        Raises:
            UsageError: there is none; the line guesses and lists what exists.
        """
        return self._about[self.get(name)]

    def every(self) -> list[Metric]:
        """All metrics in the order in which they were registered."""
        return [self.metric(name) for name in self.names()]

    def shown_in(self, place: Place) -> list[Metric]:
        """The metrics that the report shows in a place."""
        return [metric for metric in self.every() if place in metric.places]


metrics = Metrics()
"""The registry of metrics. A metric is `@metrics.register(title=..., unit=NATS, better="lower")` over a function of a
`RunRecord`."""


def measured(record: RunRecord) -> Mapping[str, float]:
    """All metrics of a run by name, but those `against_control`; NaN where something was not measured."""
    return {metric.name: metric.value(record) for metric in metrics.every() if not metric.against_control}


def _positional(function: Callable[..., object]) -> list[str]:
    parameters = inspect.signature(function).parameters.items()
    return [name for name, p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
