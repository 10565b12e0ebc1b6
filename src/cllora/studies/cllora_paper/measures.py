"""The numbers of runs that the paper's claims are of, where they are no metrics of the catalogue."""

import math

import numpy as np
import pandas as pd

from cllora.metrics import RunRecord
from cllora.metrics.signatures import early_overfitting, turns


def share_cut(run: RunRecord) -> float:
    """The share of the clients' texts that are longer than the context."""
    classes = run.partition.heterogeneity.classes.described
    cut = sum(text_class.share_cut * text_class.samples for text_class in classes)
    return float(cut / sum(text_class.samples for text_class in classes))


def local_by_token(run: RunRecord) -> float:
    """sum_k n_k (own_local_k - own_base_k) / sum_k n_k, n_k the tokens that client k is tested on; its last turn.

    Every token counts once, so that all of the clients' texts weigh as in the control, whoever holds them: a mean over
    clients would weigh short texts more under skew, which are not learned as well as long ones.
    """
    last = run.tables.gaps.sort_values("round").groupby("client").tail(1)[["client", "own_change"]]
    own = run.tables.clients[["client", "tokens"]].drop_duplicates("client")
    rows = last.merge(own, on="client").dropna()
    return float(np.average(rows["own_change"], weights=rows["tokens"])) if len(rows) else math.nan


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


def overfits_early(run: RunRecord, _: RunRecord) -> float:
    """Mean rise over the turns of clients with more than an even share, in the first half of the rounds."""
    turns_taken = rises(run)
    early = turns_taken["round"] <= run.experiment.federation.num_rounds / 2
    return float(turns_taken.loc[early & (turns_taken["size"] > 1), "rise"].mean())


def under_learns(run: RunRecord, control: RunRecord) -> float:
    """Mean, over turns of clients with less than an even share, of the rise minus that of the control's same turn."""
    both = rises(run).merge(rises(control), on=["round", "client"], suffixes=("", "_control"))
    few = both[both["size"] < 1]
    return float((few["rise"] - few["rise_control"]).mean())


def excess_spread(run: RunRecord, control: RunRecord) -> float:
    """sd_k(change) - sd_k(change in the control) * sqrt(mean(1/m_k) / mean(1/m_k in the control)); m_k: k's test texts.

    A client with few texts is tested on few, which by itself spreads clients. Control clients are alike, so that their
    variance is chance, sigma^2 mean(1/m); the second term is what chance makes of it where texts are as few.
    """
    (variance, few), (even, many) = (_variance(record) for record in (run, control))
    return math.sqrt(variance) - math.sqrt(even * few / many) if many else math.nan


def _variance(run: RunRecord) -> tuple[float, float]:
    """Variance over clients of the last change against the base, and the mean of 1/texts."""
    clients = run.tables.clients.dropna(subset=["change"])
    last = clients[clients["round"] == run.tables.curve["round"].max()]
    return (float(np.var(last["change"])), float((1 / last["samples"]).mean())) if len(last) else (math.nan, 0.0)


def early_overfitted(run: RunRecord, much: bool) -> int:
    """Clients with (or without) more than an even share that the rule of early over-fitting marks."""
    sizes = np.diff(run.partition.train_offsets)
    marked = early_overfitting(turns(run.tables.gaps, run.rounds))
    return sum(mark.client is not None and bool(sizes[mark.client] > sizes.mean()) == much for mark in marked)
