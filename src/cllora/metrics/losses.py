"""Group-bys over the loss table: who lost how much, where and when.

A loss per token is the nats of all texts over all their predicted tokens, so long texts weigh more. A loss per
sample is the mean of the texts' own means, so every text weighs the same; a text without predicted tokens has none.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cllora.metrics.loss_rows import LossRows, grouped, rows_of
from cllora.types import Ids, Losses, Partition

GLOBAL = "global"
"""The `model` of the server's adapter in the loss table."""


@dataclass(frozen=True)
class Tables:
    """The tables that follow from one run's loss table: `global_curve`, `class_curve`, `client_losses` and
    `local_gaps`.

    `personal` are the `client_losses` of the clients' own final adapters; empty where a strategy keeps none. `texts`
    are the rows of the global model on the global test set, and `local_classes` the `class_losses` there of every
    client's adapter just after its local training, one row per evaluated round, client and class.
    """

    curve: pd.DataFrame
    classes: pd.DataFrame
    clients: pd.DataFrame
    gaps: pd.DataFrame
    personal: pd.DataFrame
    texts: pd.DataFrame = field(default_factory=pd.DataFrame)
    local_classes: pd.DataFrame = field(default_factory=pd.DataFrame)


def mean_losses(losses: Losses, samples: Ids) -> tuple[float, float]:
    """The loss of one model on some of the samples it was evaluated on: nats per token, and nats per token as the mean
    of the texts' own means. NaN where none of them was evaluated."""
    inside = np.isin(losses.sample, samples)
    nll, tokens = losses.nll[inside], losses.tokens[inside]
    if not tokens.any():
        return math.nan, math.nan
    own_means = nll[tokens > 0] / tokens[tokens > 0]
    return float(nll.sum() / tokens.sum()), float(own_means.mean())


def tables(losses: pd.DataFrame, partition: Partition) -> Tables:
    """All of them at once.

    Args:
        losses: a run's loss table: round, model, sample, nll (nats, summed over the sample), tokens.
    """
    losses = losses.astype({"model": "category"})  # Names are told apart once, and not for each kind of model.
    of_global, local = rows_of(losses, GLOBAL), rows_of(losses, "local")
    texts, own_rows = of_global.on(partition.global_test), _own(of_global, partition)
    curve, own = _by_round(texts), _by_client(own_rows)
    on_test = local.on(partition.global_test)
    personal = _by_client(_own(rows_of(losses, "personal"), partition))
    columns = {"round": texts.round, "sample": texts.sample, "nll": texts.nll, "tokens": texts.tokens}
    return Tables(
        curve=curve,
        classes=_of_classes(_by_class(texts, partition)),
        clients=_with_errors(_against_base(own, own), own_rows),
        gaps=_gaps(_by_client(on_test), _by_client(_own(local, partition)), curve, own),
        personal=_against_base(personal, own),
        texts=pd.DataFrame(columns),
        local_classes=_by_class(on_test, partition, client=on_test.client),
    )


def global_curve(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """The global model on the global test set, one row per evaluated round.

    Returns columns round, loss (nats per token), loss_per_sample (nats per token, mean of the texts' means),
    samples, tokens.
    """
    return _by_round(rows_of(losses, GLOBAL).on(partition.global_test))


def class_curve(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """`global_curve` for each class of text, with a column `class`; empty if the partition knows no classes."""
    return _of_classes(_by_class(rows_of(losses, GLOBAL).on(partition.global_test), partition))


def class_losses(texts: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """The mean losses of `Tables.texts` by round and class, as in `global_curve`; class -1 where the partition knows
    none."""
    columns = [texts[name].to_numpy() for name in ("round", "sample", "nll", "tokens")]
    number, sample, nll, tokens = columns
    return _by_class(LossRows(number, np.full(len(number), -1), sample, nll, tokens), partition)


def class_numbers(partition: Partition, samples: Ids) -> Ids:
    """The class of every sample; -1 where the partition knows none."""
    return np.full(len(samples), -1) if partition.class_of is None else partition.class_of[samples]


def client_losses(losses: pd.DataFrame, partition: Partition, model: str = GLOBAL) -> pd.DataFrame:
    """Every client's own test texts under one kind of model, one row per evaluated round and client.

    `model` is `global`, or `local` or `personal`: then each client's own adapter, where it was evaluated.
    Clients without test texts have no row. Returns columns round, client, loss, loss_per_sample, samples, tokens,
    and against the untrained base on the same texts (round 0 of the global model): base (nats per token),
    change = loss - base, and ratio = loss / base; of the global model also error, the standard error of the change that
    comes of the client having no more test texts, see docs/method.md.
    """
    rows = _own(rows_of(losses, GLOBAL), partition)
    own = _by_client(rows)
    if model == GLOBAL:
        return _with_errors(_against_base(own, own), rows)
    return _against_base(_by_client(_own(rows_of(losses, model), partition)), own)


def local_gaps(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """A client's adapter just after its local training against the global model that came out of the same round.

    One row per evaluated round and client trained in it, all in nats per token: own_local, own_global and own_gap =
    own_local - own_global on the client's own test texts (missing if it has none); test_local, test_global and
    test_gap on the global test set (missing where local models were not evaluated there). A negative gap says that the
    client's own adapter is the better one there. own_base is the untrained base on the client's own test texts, and
    own_change = own_local - own_base what local training came to there: clients with other texts have other losses to
    begin with.
    """
    of_global, local = rows_of(losses, GLOBAL), rows_of(losses, "local")
    on_test, own_local = _by_client(local.on(partition.global_test)), _by_client(_own(local, partition))
    own = _by_client(_own(of_global, partition))
    return _gaps(on_test, own_local, _by_round(of_global.on(partition.global_test)), own)


def _own(rows: LossRows, partition: Partition) -> LossRows:
    """The rows on each client's own test texts, with the client; a text may have several owners."""
    return rows.of_owners(partition.test_offsets, partition.test_ids)


def _by_round(rows: LossRows) -> pd.DataFrame:
    return rows.means({"round": rows.round})


def _by_client(rows: LossRows) -> pd.DataFrame:
    return rows.means({"round": rows.round, "client": rows.client})


def _by_class(rows: LossRows, partition: Partition, **more: Ids) -> pd.DataFrame:
    return rows.means({"round": rows.round, **more, "class": class_numbers(partition, rows.sample)})


def _of_classes(by_class: pd.DataFrame) -> pd.DataFrame:
    """The rows of classes that the partition knows."""
    return by_class[by_class["class"] >= 0].reset_index(drop=True)


def _with_errors(clients: pd.DataFrame, rows: LossRows) -> pd.DataFrame:
    """The clients' losses with `error`: s / sqrt(tokens), s^2 the mean over texts, in a round, of (the text's change
    minus its client's, summed over its tokens)^2 / tokens."""
    _, client = grouped([rows.round, rows.client])  # in the order of the table
    rounds, number = np.unique(rows.round, return_inverse=True)
    begun, seen = rows.round == 0, rows.tokens > 0
    base = np.full(int(rows.sample.max(initial=-1)) + 1, np.nan)
    base[rows.sample[begun]] = rows.nll[begun]
    apart = rows.nll - base[rows.sample] - clients["change"].to_numpy()[client] * rows.tokens
    squares = np.divide(apart**2, rows.tokens, where=seen, out=np.zeros(len(apart)))
    freedom = np.bincount(number, seen, len(rounds)) - clients.groupby("round").size().to_numpy()
    variance = np.bincount(number, squares, len(rounds)) / np.where(freedom > 0, freedom, np.nan)
    at, tokens = np.searchsorted(rounds, clients["round"]), clients["tokens"].to_numpy()
    return clients.assign(error=np.sqrt(variance[at] / np.where(tokens > 0, tokens, np.nan)))


def _against_base(measured: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    base = measured["client"].map(_of_base(own))
    return measured.assign(base=base, change=measured["loss"] - base, ratio=measured["loss"] / base)


def _of_base(own: pd.DataFrame) -> "pd.Series[float]":
    """The untrained base's loss on each client's own test texts, from the global model's in every round."""
    return own[own["round"] == 0].set_index("client")["loss"]


def _gaps(on_test: pd.DataFrame, own_local: pd.DataFrame, curve: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    of_round, of_global = _losses_by(curve, "round"), _losses_by(own)
    on_everyones, local = _losses_by(on_test), _losses_by(own_local)
    places = sorted(on_everyones.keys() | local.keys())
    gaps = pd.DataFrame(np.array(places, np.int64).reshape(-1, 2), columns=["round", "client"]).assign(
        test_local=[on_everyones.get(place, math.nan) for place in places],
        test_global=[of_round.get(t, math.nan) for t, _ in places],
        own_local=[local.get(place, math.nan) for place in places],
        own_global=[of_global.get(place, math.nan) for place in places],
        own_base=[of_global.get((0, k), math.nan) for _, k in places],
    )
    gaps = gaps.dropna(subset=["test_global"]).reset_index(drop=True)
    return gaps.assign(
        own_gap=gaps["own_local"] - gaps["own_global"],
        own_change=gaps["own_local"] - gaps["own_base"],
        test_gap=gaps["test_local"] - gaps["test_global"],
    )


def _losses_by(table: pd.DataFrame, *keys: str) -> dict[Any, float]:  # Any: a number, or a tuple of several
    """The losses of a table by round and client, or by other keys."""
    columns = [table[key].tolist() for key in keys or ("round", "client")]
    return dict(zip(columns[0] if len(columns) == 1 else zip(*columns, strict=True), table["loss"], strict=True))
