"""The numbers of runs that the paper's claims are of, where they are no metrics of the catalogue."""

import numpy as np
import pandas as pd

from cllora.metrics import RunRecord
from cllora.metrics.loss import (
    late_loss,
    late_loss_per_sample,
    matched_change,
    matched_change_per_sample,
)
from cllora.metrics.signatures import early_overfitting, turns

TEN = 10
"""The round after which the paper compares IID with skewed clients."""


def share_cut(run: RunRecord) -> float:
    """The share of the clients' texts that are longer than the context."""
    classes = run.partition.heterogeneity.classes.described
    cut = sum(text_class.share_cut * text_class.samples for text_class in classes)
    return float(cut / sum(text_class.samples for text_class in classes))


def rises(run: RunRecord) -> pd.DataFrame:
    """The rise of the loss on the global test texts in every turn of local training: round, client, size, rise.

    rise = loss of the client's own adapter after it - loss of the global model that it was sent (the round before,
    which must have been evaluated); size its training texts over an even share of all.
    """
    sent = run.tables.curve[["round", "loss"]].assign(round=run.tables.curve["round"] + 1)
    joined = run.tables.gaps[["round", "client", "test_local"]].merge(sent, on="round")
    sizes = np.diff(run.partition.train_offsets)
    size = sizes[joined["client"].to_numpy(np.int64)] / sizes.mean()
    table: pd.DataFrame = joined.assign(size=size, rise=joined["test_local"] - joined["loss"])
    return table[["round", "client", "size", "rise"]]


def overfits_early(run: RunRecord, control: RunRecord) -> float:
    """Mean rise over the turns of clients with more than an even share, in the first half of the rounds, minus the
    control's mean rise in the same rounds."""
    much, even = early_turns_of_large(run), _early(control)
    return float(much["rise"].mean() - even[even["round"].isin(much["round"])]["rise"].mean())


def early_turns_of_large(run: RunRecord) -> pd.DataFrame:
    """The `rises` of clients with more than an even share, in the first half of the rounds."""
    taken = _early(run)
    return taken[taken["size"] > 1]


def under_learns(run: RunRecord, control: RunRecord) -> float:
    """Mean, over turns of clients with less than an even share, of the rise minus that of the control's same turn."""
    both = rises(run).merge(rises(control), on=["round", "client"], suffixes=("", "_control"))
    few = both[both["size"] < 1]
    return float((few["rise"] - few["rise_control"]).mean())


def global_minus_local(run: RunRecord) -> float:
    """The loss of the global model minus what training came to for clients' own adapters on texts like theirs. Against
    a control it is the effect on the global model minus that on local training, whatever the base's loss is."""
    return late_loss(run) - matched_change(run)


def global_minus_local_per_sample(run: RunRecord) -> float:
    """`global_minus_local` with every text counted once."""
    return late_loss_per_sample(run) - matched_change_per_sample(run)


def loss_after_ten(run: RunRecord) -> float:
    """The global loss after ten rounds; NaN if that round was not evaluated."""
    curve = run.tables.curve
    return float(curve.loc[curve["round"] == TEN, "loss"].mean())


def _early(run: RunRecord) -> pd.DataFrame:
    taken = rises(run)
    return taken[taken["round"] <= run.experiment.federation.num_rounds / 2]


def early_overfitted(run: RunRecord, much: bool) -> int:
    """Clients with (or without) more than an even share that the rule of early over-fitting marks."""
    sizes = np.diff(run.partition.train_offsets)
    marked = early_overfitting(turns(run.tables.gaps, run.rounds))
    return sum(mark.client is not None and bool(sizes[mark.client] > sizes.mean()) == much for mark in marked)
