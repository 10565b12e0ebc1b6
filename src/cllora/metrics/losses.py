"""Group-bys over the loss table: who lost how much, where and when.

A loss per token is the nats of all texts over all their predicted tokens, so long texts weigh more. A loss per
sample is the mean of the texts' own means, so every text weighs the same; a text without predicted tokens has none.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

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
    texts = _rows(losses, GLOBAL, partition.global_test)
    curve, own_rows = _means(texts, ["round"]), _own_rows(losses, partition, GLOBAL)
    own = _means(own_rows, ["round", "client"])
    return Tables(
        curve=curve,
        classes=class_curve(losses, partition),
        clients=_with_errors(_against_base(own, own), own_rows),
        gaps=_gaps(losses, partition, curve, own),
        personal=_against_base(_own_means(losses, partition, "personal"), own),
        texts=texts[["round", "sample", "nll", "tokens"]],
        local_classes=class_losses(_local_on_test(losses, partition), partition, ["round", "client"]),
    )


def global_curve(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """The global model on the global test set, one row per evaluated round.

    Returns columns round, loss (nats per token), loss_per_sample (nats per token, mean of the texts' means),
    samples, tokens.
    """
    return _means(_rows(losses, GLOBAL, partition.global_test), ["round"])


def class_curve(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """`global_curve` for each class of text, with a column `class`; empty if the partition knows no classes."""
    rows = class_losses(_rows(losses, GLOBAL, partition.global_test), partition, ["round"])
    return rows[rows["class"] >= 0].reset_index(drop=True)


def class_losses(rows: pd.DataFrame, partition: Partition, keys: list[str]) -> pd.DataFrame:
    """The mean losses of rows of the loss table by `keys` and class, as in `global_curve`; class -1 where the partition
    knows none."""
    return _means(rows.assign(**{"class": class_numbers(partition, rows["sample"].to_numpy())}), [*keys, "class"])


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
    rows = _own_rows(losses, partition, GLOBAL)
    own = _means(rows, ["round", "client"])
    if model == GLOBAL:
        return _with_errors(_against_base(own, own), rows)
    return _against_base(_own_means(losses, partition, model), own)


def _with_errors(clients: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The clients' losses with `error`: s / sqrt(tokens), s^2 the mean over texts, in a round, of (the text's change
    minus its client's, summed over its tokens)^2 / tokens."""
    base = rows[rows["round"] == 0].drop_duplicates("sample").set_index("sample")["nll"]
    texts = rows.merge(clients[["round", "client", "change"]], on=["round", "client"])
    apart = texts["nll"] - texts["sample"].map(base) - texts["change"] * texts["tokens"]
    squares = (apart**2 / texts["tokens"].where(texts["tokens"] > 0)).groupby(texts["round"])
    freedom = squares.count() - clients.groupby("round")["client"].count()
    variance = clients["round"].map(squares.sum() / freedom.where(freedom > 0))
    return clients.assign(error=np.sqrt(variance / clients["tokens"].where(clients["tokens"] > 0)))


def _against_base(measured: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    base = measured["client"].map(_of_base(own))
    return measured.assign(base=base, change=measured["loss"] - base, ratio=measured["loss"] / base)


def _of_base(own: pd.DataFrame) -> "pd.Series[float]":
    """The untrained base's loss on each client's own test texts, from the global model's in every round."""
    return own[own["round"] == 0].set_index("client")["loss"]


def local_gaps(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """A client's adapter just after its local training against the global model that came out of the same round.

    One row per evaluated round and client trained in it, all in nats per token: own_local, own_global and own_gap =
    own_local - own_global on the client's own test texts (missing if it has none); test_local, test_global and
    test_gap on the global test set. A negative gap says that the client's own adapter is the better one there. own_base
    is the untrained base on the client's own test texts, and own_change = own_local - own_base what local training came
    to there: clients with other texts have other losses to begin with.
    """
    return _gaps(losses, partition, global_curve(losses, partition), _own_means(losses, partition, GLOBAL))


def _local_on_test(losses: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """The rows of clients' own adapters on the global test set, with the client."""
    rows = losses[losses["model"].str.startswith("local/") & losses["sample"].isin(partition.global_test)]
    return rows.assign(client=_client_of(rows["model"]))


def _gaps(losses: pd.DataFrame, partition: Partition, curve: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    local = losses[losses["model"].str.startswith("local/")]
    on_test = _means(_local_on_test(losses, partition), ["round", "client"])
    gaps = _renamed(on_test, "test_local").merge(
        curve[["round", "loss"]].rename(columns={"loss": "test_global"}), on="round"
    )
    for measured, column in ((_own_means(local, partition, "local"), "own_local"), (own, "own_global")):
        gaps = gaps.merge(_renamed(measured, column), on=["round", "client"], how="left")
    own_base = gaps["client"].map(_of_base(own))
    return gaps.assign(
        own_base=own_base,
        own_gap=gaps["own_local"] - gaps["own_global"],
        own_change=gaps["own_local"] - own_base,
        test_gap=gaps["test_local"] - gaps["test_global"],
    )


def _rows(losses: pd.DataFrame, model: str, samples: Ids) -> pd.DataFrame:
    return losses[(losses["model"] == model) & losses["sample"].isin(samples)]


def _own_means(losses: pd.DataFrame, partition: Partition, model: str) -> pd.DataFrame:
    """Means over the texts that each client is tested on."""
    return _means(_own_rows(losses, partition, model), ["round", "client"])


def _own_rows(losses: pd.DataFrame, partition: Partition, model: str) -> pd.DataFrame:
    """The rows of one kind of model on each client's own test texts, with the client; a text may have several
    owners."""
    owners = np.repeat(np.arange(partition.num_clients), np.diff(partition.test_offsets))
    own = pd.DataFrame({"client": owners, "sample": partition.test_ids})
    if model == GLOBAL:
        return losses[losses["model"] == GLOBAL].merge(own, on="sample")
    rows = losses[losses["model"].str.startswith(f"{model}/")]
    return rows.assign(client=_client_of(rows["model"])).merge(own, on=["client", "sample"])


def _client_of(model: "pd.Series[str]") -> "pd.Series[int]":
    return model.str.partition("/")[2].astype("int64") if len(model) else model.astype("int64")


def _means(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    nll, tokens = rows["nll"].to_numpy(), rows["tokens"].to_numpy()
    seen = tokens > 0
    own_means = np.divide(nll, tokens, where=seen, out=np.zeros(len(rows)))
    parts = {"nll": nll, "tokens": tokens, "samples": 1, "seen": seen, "own_means": own_means}
    sums = pd.DataFrame({**{key: rows[key].to_numpy() for key in keys}, **parts}).groupby(keys, as_index=False).sum()
    sums["loss"] = sums["nll"] / sums["tokens"]
    sums["loss_per_sample"] = sums["own_means"] / sums["seen"]
    return sums[[*keys, "loss", "loss_per_sample", "samples", "tokens"]]


def _renamed(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame[["round", "client", "loss"]].rename(columns={"loss": column})
