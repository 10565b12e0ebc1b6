"""A probe: a measurement with the model in hand, at a stated moment, whose table is kept in the run's folder.

A probe is a function of an `Evaluator` and a `Moment` that returns a table. Its options are its keyword-only arguments,
its docstring is its help.

    >>> @probes.register(when="end", title="Loss at the first token")
    ... def first_token(model: Evaluator, moment: Moment) -> pd.DataFrame:
    ...     \"\"\"The loss of the token right after each text's first, under the final global adapter.\"\"\"
    ...     blocks = model.token_losses(moment.adapter, moment.texts)
    ...     rows = [(s, x) for b in blocks for s, p, x in zip(b.sample, b.position, b.nll) if p == 1]
    ...     return pd.DataFrame(rows, columns=["sample", "loss"])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pandas as pd
from pandas.api.types import is_float_dtype

from cllora.errors import UsageError
from cllora.registry import Registry
from cllora.types import Ids, Layout, Participant, Partition, Vector

Probe = Callable[..., pd.DataFrame]
When = Literal["round", "end"]
Summary = Callable[[pd.DataFrame], Mapping[str, float]]


@dataclass(frozen=True)
class Moment:
    """A round that is just over, as a probe sees it.

    `adapter` is the global adapter after it, and `participants` the clients that were chosen, sorted (none in round 0).
    `texts` are ids of a few texts of the global test set, the same in all cells that are tested on the same texts.
    """

    round: int
    adapter: Vector
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
    def before_and_after(self) -> Mapping[str, Vector]:
        """The initial and the global adapter, by the words that tables have in their column `when`."""
        return {"before": self.initial, "after": self.adapter}


@dataclass(frozen=True)
class Facts:
    """What is known of a probe beside its function: when it measures, what it is called, and its numbers per round."""

    when: When
    title: str
    summary: Summary


def means(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every column of real numbers: what a table comes to where its probe says nothing else."""
    return {str(name): float(column.mean()) for name, column in table.items() if is_float_dtype(column) and len(column)}


class ProbeRegistry(Registry[Probe]):
    """The probes by name, with the facts of each."""

    def __init__(self) -> None:
        super().__init__("probe")
        self._facts: dict[str, Facts] = {}

    def register(
        self, name: str | None = None, *, when: When = "end", title: str = "", summary: Summary = means
    ) -> Callable[[Probe], Probe]:
        """Decorator: add a probe that measures after every round (round 0 included), or once after the last.

        `title` is what a reader is shown, the function's name if empty. `summary` turns a table of one round into
        numbers by name, which trackers are told.
        """
        add = super().register(name)

        def add_with_facts(function: Probe) -> Probe:
            key = name or function.__name__
            added = add(function)
            self._facts[key] = Facts(when, title or key.replace("_", " "), summary)
            return added

        return add_with_facts

    def facts(self, name: str) -> Facts:
        """Raises UsageError: there is no such probe."""
        self.get(name)
        return self._facts[name]

    def measure(self, name: str, options: Mapping[str, Any], model: Any, moment: Moment) -> pd.DataFrame:
        """A probe's table at a moment.

        Raises:
            UsageError: it gave something else than a table, or columns that have no names.
        """
        table = self.bind(name, options)(model, moment)
        if not isinstance(table, pd.DataFrame):
            raise UsageError(f"probe '{name}' must return a pandas DataFrame, not {type(table).__name__}")
        if not all(isinstance(column, str) for column in table.columns):
            raise UsageError(f"probe '{name}': its columns must be named by text, not {list(table.columns)}")
        return table


probes = ProbeRegistry()
