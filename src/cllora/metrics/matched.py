"""Losses on texts that all runs of a seed share, in the mix of classes that clients hold.

A client's own test texts are its own: in another partition it has others, and fewer or more. What is compared between
partitions is therefore measured on the global test set, class by class. A client stands for its shares q_kc of the
classes c among its training texts; docs/method.md has the formulas and what they come to where nothing differs.
"""

import math
from typing import Literal

import numpy as np

from cllora.metrics.losses import class_losses, class_numbers
from cllora.metrics.record import RunRecord
from cllora.types import Array, Partition

Reference = Literal["base", "sent", "global"]
"""The model that a client's own adapter is set against: the untrained base, the global model that it was sent (that of
the round before), or the global model of the same round."""

LOSSES = {"token": ("loss", "tokens"), "text": ("loss_per_sample", "samples")}
"""The columns of a class's loss and of its weight, where every token or every text counts once."""
Count = Literal["token", "text"]


def class_mixes(partition: Partition, classes: Array) -> Array:
    """The share of each of the classes (C,) among each client's training texts that are of one of them: (K, C), NaN for
    a client without any."""
    owners = np.repeat(np.arange(partition.num_clients), np.diff(partition.train_offsets))
    numbers = class_numbers(partition, partition.train_ids)
    inside = np.isin(numbers, classes)
    at = owners[inside] * len(classes) + np.searchsorted(classes, numbers[inside])
    counts = np.bincount(at, minlength=partition.num_clients * len(classes)).reshape(-1, len(classes)).astype(float)
    sizes = counts.sum(axis=1, keepdims=True)
    return counts / np.where(sizes > 0, sizes, np.nan)


def local_difference(run: RunRecord, reference: Reference, count: Count = "token") -> float:
    """The loss that a global test text has under the adapter of a client that holds texts of its class, minus that
    under the reference; mean over tokens (or texts), in nats per token.

    sum_c p_c sum_k q_kc (L_c(k) - L_c(reference)) / sum_k q_kc over the clients that were trained, each after its last
    turn; p_c is the class's share of the global test set. Where all adapters are one, partitions do not matter: the
    classes weigh p_c whoever holds them. Classes that no trained client holds are left out,
    and clients that hold none of the global test set's.
    """
    column, weight = LOSSES[count]
    turns = run.tables.local_classes
    if turns.empty:
        return math.nan
    last = turns[turns["round"] == turns.groupby("client")["round"].transform("max")]
    number = last["round"].to_numpy()
    after = {"base": np.zeros_like(number), "sent": number - 1, "global": number}[reference]
    under = class_losses(run.tables.texts, run.partition, ["round"])[["round", "class", column, weight]]
    rows = last[["client", "class", column]].assign(round=after).merge(under, on=["round", "class"], suffixes=("", "_"))
    if rows.empty:
        return math.nan
    classes = np.unique(rows["class"])
    place = np.searchsorted(classes, rows["class"])
    held = np.nan_to_num(class_mixes(run.partition, classes)[rows["client"], place])
    sums = np.bincount(place, held * (rows[column] - rows[f"{column}_"]), len(classes))
    owners, shares = np.bincount(place, held, len(classes)), np.zeros(len(classes))
    shares[place] = rows[weight]
    kept = owners > 0
    return float(np.average(sums[kept] / owners[kept], weights=shares[kept])) if kept.any() else math.nan


def expected_changes(run: RunRecord, model: RunRecord) -> Array:
    """Each client's change of loss against the base (K,) under another run's last global model, in nats per token: that
    of the global test set in the mix of classes that the client holds in this run.

    sum_c q_kc t_c (L_c - L_c(base)) / sum_c q_kc t_c, t_c the mean tokens of a test text of the class.
    """
    under = class_losses(model.tables.texts, run.partition, ["round"])
    last, base = (under[under["round"] == number].set_index("class") for number in (model.last_round, 0))
    change = (last["loss"] - base["loss"]).dropna()
    classes = np.asarray(change.index)
    tokens = (last["tokens"] / last["samples"]).loc[change.index].to_numpy()
    weights = class_mixes(run.partition, classes) * tokens
    return np.asarray(weights @ change.to_numpy() / weights.sum(axis=1))


def same_test(run: RunRecord, control: RunRecord) -> bool:
    """Whether two runs have the same global test set."""
    return np.array_equal(run.partition.global_test, control.partition.global_test)
