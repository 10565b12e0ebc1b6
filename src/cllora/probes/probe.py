"""A probe: a measurement with the model in hand, at a stated moment, whose table is kept in the run's folder.

A probe is a function of an `Evaluator` and a `Moment` that returns a table. Its options are its keyword-only arguments,
its docstring is its help.

    >>> from cllora.metrics import NATS
    >>> @probes.register(when="end", title="loss at the first token", numbers={"loss": (NATS, "lower")})
    ... def first_token(model: Evaluator, moment: Moment) -> pd.DataFrame:
    ...     \"\"\"The loss of the token right after each text's first, under the final global model.\"\"\"
    ...     blocks = model.token_losses(moment.model, moment.texts)
    ...     rows = [(s, x) for b in blocks for s, p, x in zip(b.sample, b.position, b.nll) if p == 1]
    ...     return pd.DataFrame(rows, columns=["sample", "loss"])

The numbers that a table comes to are told to trackers; those that the probe gives a unit are metrics too, here
`first_token.loss`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pandas as pd
from pandas.api.types import is_float_dtype

from cllora.errors import UsageError
from cllora.metrics import Better, RunRecord, Unit, metrics
from cllora.model.engine import Evaluator
from cllora.registry import Registry
from cllora.types import Ids, Layout, Model, Participant, Partition, Vector

Probe = Callable[..., pd.DataFrame]
When = Literal["round", "end"]
Summary = Callable[[pd.DataFrame], Mapping[str, float]]


@dataclass(frozen=True)
class Moment:
    """A round that is just over, as a probe sees it.

    `models` are the server's models after it by name, `participants` the clients that were chosen, sorted (none in
    round 0). `texts` are ids of a few texts of the global test set, the same in all cells that are tested on the same
    texts.
    """

    round: int
    models: Mapping[str, Model]
    participants: Sequence[Participant]
    texts: Ids
    partition: Partition
    layout: Layout
    seed: int
    make_initial: Callable[[], Vector] = field(repr=False)

    @cached_property
    def initial(self) -> Vector:
        """The adapter before any training: with it, the model is the base."""
        return self.make_initial()

    @property
    def model(self) -> Model:
        """The global model, the only one that there is."""
        (model,) = self.models.values()
        return model

    @property
    def before_and_after(self) -> Mapping[str, Model]:
        """The initial and the global model, by the words that tables have in their column `when`."""
        return {"before": Model(self.initial), "after": self.model}


def means(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every column of real numbers: what a table comes to where its probe says nothing else."""
    return {str(name): float(column.mean()) for name, column in table.items() if is_float_dtype(column) and len(column)}


@dataclass(frozen=True)
class ProbeFacts:
    """The facts that a probe states of itself.

    when: it measures after every round (round 0 included), or once after the last.
    title: what a reader is shown; its name if empty.
    summary: turns a table of one round into numbers by name, which trackers are told.
    models: whether it measures the one global model, and is refused where a strategy has several, or is for any.
    numbers: those of `summary` that are metrics too, as `PROBE.NUMBER`, with their unit and better direction.
    """

    when: When = "end"
    title: str = ""
    summary: Summary = means
    models: Literal["one", "any"] = "one"
    numbers: Mapping[str, tuple[Unit, Better]] = field(default_factory=dict)


class Probes(Registry[Probe, ProbeFacts]):
    """The registry of probes. The numbers that a probe states are registered as metrics with it."""

    def register(self, name: str | None = None, **facts: object) -> Callable[[Probe], Probe]:
        """Register a function of an `Evaluator` and a `Moment`, see `Registry.register`."""
        register = super().register(name, **facts)

        def add(probe: Probe) -> Probe:
            register(probe)
            key = name or probe.__name__
            for number in self._facts[key].numbers:
                _register_metric(key, number, self._facts[key])
            return probe

        return add


def _register_metric(name: str, number: str, facts: ProbeFacts) -> None:
    """Register a number of a probe as a metric: what the table of its last round comes to."""

    def compute(run: RunRecord) -> float:
        table = run.probe(name)
        if table is None:
            return math.nan
        return facts.summary(table[table["round"] == table["round"].max()]).get(number, math.nan)

    unit, better = facts.numbers[number]
    title = f"{number.replace('_', ' ')} of {facts.title or name.replace('_', ' ')}"
    compute.__doc__ = f"The number {number} of the probe {name}, after the last round that it measured."
    metrics.register(f"{name}.{number}", title=title, unit=unit, better=better)(compute)


probes = Probes("probe", ProbeFacts)
"""The registry of probes: `@probes.register(when="end")` over a function of an `Evaluator` and a `Moment`."""


def measure(name: str, options: Mapping[str, object], model: Evaluator, moment: Moment) -> pd.DataFrame:
    """Return a probe's table at a moment.

    Raises:
        UsageError: it gave something else than a table, or columns that have no names.
    """
    table = probes.bind(name, options)(model, moment)
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"probe '{name}' must return a pandas DataFrame, not {type(table).__name__}")
    if not all(isinstance(column, str) for column in table.columns):
        raise UsageError(f"probe '{name}': its columns must be named by text, not {list(table.columns)}")
    return table
