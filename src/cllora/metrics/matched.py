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
from cllora.types import Array, Ids, Partition

Reference = Literal["base", "sent", "global"]
"""The model that a client's own adapter is set against: the untrained base, the global model that it was sent (that of
the round before), or the global model of the same round."""

LOSSES = {"token": ("loss", "tokens"), "text": ("loss_per_sample", "samples")}
"""The columns of a class's loss and of its weight, where every token or every text counts once."""
Count = Literal["token", "text"]


def class_mixes(partition: Partition, classes: Ids) -> Array:
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
    if run.tables.local_classes.empty:
        return math.nan
    last, under = run.last_local_classes, run.class_losses
    number = last["round"].to_numpy()
    after = {"base": np.zeros_like(number), "sent": number - 1, "global": number}[reference]
    classes, rounds = np.unique(under["class"]), np.unique(under["round"])
    losses = np.full((len(rounds) + 1, len(classes)), np.nan)  # the last row: of a round that was not evaluated
    losses[np.searchsorted(rounds, under["round"]), np.searchsorted(classes, under["class"])] = under[column]
    shares = under.loc[under["round"] == rounds[0], weight].to_numpy(float)
    place, row = np.searchsorted(classes, last["class"]), np.searchsorted(rounds, after)
    row = np.where(rounds[np.minimum(row, len(rounds) - 1)] == after, row, len(rounds))
    difference = last[column].to_numpy() - losses[row, place]
    measured = ~np.isnan(difference)
    mixes = np.nan_to_num(class_mixes(run.partition, classes))
    held = np.where(measured, mixes[last["client"].to_numpy(), place], 0.0)
    sums = np.bincount(place, held * np.where(measured, difference, 0.0), len(classes))
    owners = np.bincount(place, held, len(classes))
    kept = owners > 0
    return float(np.average(sums[kept] / owners[kept], weights=shares[kept])) if kept.any() else math.nan


def expected_changes(run: RunRecord, model: RunRecord) -> Array:
    """Each client's change of loss against the base (K,) under another run's last global model, in nats per token: that
    of the global test set in the mix of classes that the client holds in this run.

    sum_c q_kc t_c (L_c - L_c(base)) / sum_c q_kc t_c, t_c the mean tokens of a test text of the class.
    """
    same = _alike(run.partition.class_of, model.partition.class_of, run.partition.global_test)
    under = model.class_losses if same else class_losses(model.tables.texts, run.partition)
    last, base = (under[under["round"] == number].set_index("class") for number in (model.last_round, 0))
    change = (last["loss"] - base["loss"]).dropna()
    classes = np.asarray(change.index)
    tokens = (last["tokens"] / last["samples"]).loc[change.index].to_numpy()
    weights = class_mixes(run.partition, classes) * tokens
    return np.asarray(weights @ change.to_numpy() / weights.sum(axis=1))


def same_test(run: RunRecord, control: RunRecord) -> bool:
    """Whether two runs have the same global test set."""
    return np.array_equal(run.partition.global_test, control.partition.global_test)


def _alike(classes: Ids | None, others: Ids | None, samples: Ids) -> bool:
    """Whether samples have the same classes in two partitions."""
    if classes is None or others is None:
        return classes is others
    return np.array_equal(classes[samples], others[samples])
