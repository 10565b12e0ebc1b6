"""Rows of a loss table as arrays, and their means by any keys: what every table of losses is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cllora.types import Ids

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class LossRows:
    """Rows of a loss table of one kind of model, all (N,): round, client (-1: of no client), sample, nll (nats, summed
    over the sample) and tokens (predicted)."""

    round: NDArray[np.int64]
    client: NDArray[np.int64]
    sample: Ids
    nll: Numbers
    tokens: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the rows at a mask or at places."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def on(self, samples: Ids) -> Self:
        """The rows of some samples."""
        return self[np.isin(self.sample, samples)]

    def of_owners(self, offsets: NDArray[np.int64], samples: Ids) -> Self:
        """The rows of samples that clients own, once for each owner; k's are `samples[offsets[k]:offsets[k + 1]]`.

        Rows of a client's own model are those on its own samples.
        """
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.argsort(samples, kind="stable")
        owned, owners = samples[order], owners[order]
        first, last = (np.searchsorted(owned, self.sample, side=side) for side in ("left", "right"))
        times = last - first
        at = np.repeat(np.arange(len(self.sample)), times)
        owner = owners[np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times) + np.repeat(first, times)]
        rows = self[at]
        own = (rows.client == owner) | (rows.client < 0)
        return type(self)(rows.round, owner, rows.sample, rows.nll, rows.tokens)[own]

    def means(self, keys: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
        """The rows' losses by some keys (N,): a row each with the keys, loss (nats per token), loss_per_sample (nats
        per token, mean of the texts' own means), samples and tokens."""
        places, group = grouped(list(keys.values()))
        seen = self.tokens > 0
        own_means = np.divide(self.nll, self.tokens, where=seen, out=np.zeros(len(self.nll)))
        nll, tokens, own, many = (
            np.bincount(group, values, len(places)) for values in (self.nll, self.tokens, own_means, seen)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            measured = {"loss": nll / tokens, "loss_per_sample": own / many}
        counts = {"samples": np.bincount(group, minlength=len(places)), "tokens": tokens.astype(np.int64)}
        return pd.DataFrame({**{name: values[places] for name, values in keys.items()}, **measured, **counts})


def rows_of(losses: pd.DataFrame, kind: str) -> LossRows:
    """The rows of a loss table of one kind of model: of that which is called so, or of the clients' (`kind/CLIENT`)."""
    codes, names = pd.factorize(losses["model"])
    clients = np.array([_client(name, kind) for name in names] or [np.nan], float)[codes]
    chosen = np.flatnonzero(~np.isnan(clients))
    columns = [losses[name].to_numpy()[chosen] for name in ("round", "sample", "nll", "tokens")]
    number, sample, nll, tokens = columns
    return LossRows(number.astype(np.int64), clients[chosen].astype(np.int64), sample, nll, tokens.astype(np.int64))


def grouped(keys: list[NDArray[np.int64]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The place of the first row of every combination of keys, in the keys' order, and each row's combination."""
    code = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        values, number = np.unique(key, return_inverse=True)
        code = code * max(1, len(values)) + number
    _, places, group = np.unique(code, return_index=True, return_inverse=True)
    return places, group


def _client(name: str, kind: str) -> float:
    """The client of a model of a kind, -1 for that which is of all; NaN for a model of another kind."""
    if name == kind:
        return -1
    before, _, client = name.partition("/")
    return float(client) if before == kind and kind in ("local", "personal") else np.nan
