"""The catalogue of columns: their titles and the format of their numbers, on axes, in headings, tables and sentences.

A column that is called as a metric is shown as the catalogue of metrics has it; `COLUMNS` has the others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cllora.metrics import NATS, SHARE, metrics
from cllora.metrics.formats import brief, megabytes, number, percent, signed, whole
from cllora.reports.facts import Interval, Mean, Share


@dataclass(frozen=True)
class Column:
    """The title and format of a column.

    title: as it stands within a sentence.
    show: writes a number; in `unit`, where it does not write a unit itself.
    scale: how many of the numbers' own unit are one `unit`.
    decimals: whether more decimals tell more of its numbers.
    """

    title: str
    show: Callable[[float], str] = brief
    unit: str = ""
    scale: float = 1.0
    decimals: bool = True

    @property
    def label(self) -> str:
        """The title of an axis."""
        return f"{self.title}<br>({self.unit})" if self.unit else self.title

    @property
    def heading(self) -> str:
        """The title of a table's column, with the unit where numbers of a table differ in it."""
        return f"{self.title} ({self.unit})" if self.unit == "MB" else self.title

    def with_unit(self, value: float) -> str:
        return f"{self.show(value)} {self.unit}".rstrip()

    def written(self, value: float, digits: int = 3) -> str:
        return number(value, digits) if self.decimals else self.show(value)

    def signed(self, difference: float, digits: int = 3) -> str:
        text = self.written(difference, digits)
        return f"+{text}" if difference > 0 and text[0] != "+" else text


def _bytes(title: str) -> Column:
    return Column(title, megabytes, "MB", 1e6, decimals=False)


PARTS = {
    "lora": "LoRA",
    "norms": "norms",
    "embeddings": "embeddings",
    "positions": "learned positions",
    "other": "all other weights",
}
"""The parts of an adapter."""
COLUMNS = {
    "loss": Column("loss", number, NATS.name),
    "seeds": Column("seeds", whole),
    "margin": Column("margin", lambda x: number(x, 4)),
    "difference": Column("difference to control", signed),
    "p_holm": Column("p, Holm", number),
    "p_equivalent_holm": Column("p equivalent, Holm", number),
    "global_loss": Column("global loss", number, NATS.name),
    "js_mean": Column(
        "mean distance of clients' class mixes from the pool's (Jensen-Shannon divergence, 0 to 1)",
        lambda x: number(x, 2),
    ),
    "loss_per_sample": Column("mean of the texts' means", number, NATS.name),
    "gap": Column("local − global", signed, NATS.name),
    "loss_change": Column("change of loss", signed, NATS.name),
    "perplexity": Column("perplexity", lambda x: number(x, 2)),
    "averaging_error": Column("averaging error", percent),
    "entropy_change": Column("change of attention entropy by training, mean over heads", signed, "of its maximum"),
    "key_loss": Column("mean loss on a key's token", number, "nats"),
    "bytes": _bytes("sent and received in a run"),
    "per_round": _bytes("per round"),
    "bytes_of_an_adapter": _bytes("one adapter"),
    **{f"{part}_per_message": _bytes(f"a message: {name}") for part, name in PARTS.items()},
    "length": Column("tokens of the text", whole),
    "depth": Column("depth in the text"),
}


def column(name: str) -> Column:
    """The column of that name; of one that has no entry, the name itself in words."""
    if name in metrics.names():
        metric = metrics.metric(name)
        unit = "" if metric.unit is SHARE else metric.unit.name
        return Column(metric.title, metric.format, unit, metric.unit.scale, decimals=metric.unit.name == NATS.name)
    return COLUMNS.get(name) or Column(name.replace("_", " "))


def cell(value: object, name: str) -> str:
    """A value of a table as a person reads it."""
    entry = column(name)
    match value:
        case Mean(mean, sd):
            return entry.show(mean) if math.isnan(sd) else f"{entry.show(mean)} ± {entry.show(sd).removeprefix('+')}"
        case Interval(difference, low, high):
            doubt = "" if math.isnan(low) else f" [{entry.signed(low)}, {entry.signed(high)}]"
            return f"{entry.signed(difference)}{doubt}"
        case Share(n, total):
            return f"{n:,} of {total:,}"
        case bool():
            return str(value)
        case float() | np.floating():
            return entry.show(float(value))
        case int() | np.integer() if name in COLUMNS or name in metrics.names():
            return entry.show(float(value))
        case _:
            return str(value)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table as text, under its columns' headings."""
    texts = {name: [cell(value, str(name)) for value in table[name]] for name in table.columns}
    return pd.DataFrame(texts, dtype=object).rename(columns=lambda name: column(str(name)).heading)
