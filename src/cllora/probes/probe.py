"""A probe: a measurement with the model in hand, at a stated moment, whose table is kept in the run's folder.

A probe is a function of an `Evaluator` and a `Moment` that returns a table. Its options are its keyword-only arguments,
its docstring is its help.

    >>> @probes.register(when="end", title="Loss at the first token")
    ... def first_token(model: Evaluator, moment: Moment) -> pd.DataFrame:
    ...     \"\"\"The loss of the token right after each text's first, under the final global model.\"\"\"
    ...     blocks = model.token_losses(moment.model, moment.texts)
    ...     rows = [(s, x) for b in blocks for s, p, x in zip(b.sample, b.position, b.nll) if p == 1]
    ...     return pd.DataFrame(rows, columns=["sample", "loss"])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pandas as pd
from pandas.api.types import is_float_dtype

from cllora.errors import UsageError
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
    """

    when: When = "end"
    title: str = ""
    summary: Summary = means
    models: Literal["one", "any"] = "one"


probes: Registry[Probe, ProbeFacts] = Registry("probe", ProbeFacts)


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
