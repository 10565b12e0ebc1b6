"""Metrics of the loss by position in the text, from the probe `loss_by_position`."""

import math
from collections.abc import Callable

import pandas as pd

from cllora.metrics.catalogue import BITS, NATS, metrics
from cllora.metrics.record import RunRecord

PROBE = "loss_by_position"


def bits_per_byte_of(nll: float, count: float) -> float:
    """nll / (ln 2 · bytes): summed nats as bits over the bytes of the same text in UTF-8, whatever the tokenizer."""
    return nll / (math.log(2) * count) if count > 0 else math.nan


def loss_under(bins: pd.DataFrame, pattern: str, when: str = "after") -> float:
    """Nats per token under one pattern of evaluation: each token scored once, given all of its text before it.

    Args:
        bins: the table of the probe `loss_by_position`.
        when: `before`: the untrained base; `after`: the final global model.
    """
    rows = _rows(bins, pattern, when)
    nll, tokens = float(rows["nll"].sum()), float(rows["tokens"].sum())
    return nll / tokens if tokens else math.nan


def last_loss_under(bins: pd.DataFrame, pattern: str, when: str = "after") -> float:
    """`loss_under` of the tokens with the most text before them: the last bin that has any."""
    rows = _rows(bins, pattern, when)
    return float(rows["loss"].iloc[-1]) if len(rows) else math.nan


def _of_run(run: RunRecord, loss: Callable[[pd.DataFrame, str, str], float], pattern: str, when: str) -> float:
    bins = run.probe(PROBE)
    return math.nan if bins is None else loss(bins, pattern, when)


@metrics.register(title="loss over all positions", unit=NATS, better="lower", places=())
def position_loss(run: RunRecord) -> float:
    """The loss of the final global model under full attention, each token given all of its text before it."""
    return _of_run(run, loss_under, "full", "after")


@metrics.register(title="loss in the last bin of positions", unit=NATS, better="lower", places=())
def last_position_loss(run: RunRecord) -> float:
    """`position_loss` of the tokens with the most text before them."""
    return _of_run(run, last_loss_under, "full", "after")


@metrics.register(title="base loss over all positions", unit=NATS, places=())
def base_position_loss(run: RunRecord) -> float:
    """`position_loss` of the base, before training."""
    return _of_run(run, loss_under, "full", "before")


@metrics.register(title="base loss in the last bin of positions", unit=NATS, places=())
def base_last_position_loss(run: RunRecord) -> float:
    """`last_position_loss` of the base, before training."""
    return _of_run(run, last_loss_under, "full", "before")


@metrics.register(title="loss over all positions under the pattern of training", unit=NATS, better="lower", places=())
def own_position_loss(run: RunRecord) -> float:
    """The loss over all positions under the pattern of attention that the run was trained under."""
    return _of_run(run, loss_under, run.experiment.model.attention.name, "after")


@metrics.register(title="loss in the last bin under the pattern of training", unit=NATS, better="lower", places=())
def own_last_position_loss(run: RunRecord) -> float:
    """`own_position_loss` of the tokens with the most text before them."""
    return _of_run(run, last_loss_under, run.experiment.model.attention.name, "after")


@metrics.register(title="bits per byte", unit=BITS, better="lower", places=())
def bits_per_byte(run: RunRecord) -> float:
    """`position_loss` in bits over the bytes of the same texts in UTF-8, whatever the tokenizer."""
    bins = run.probe(PROBE)
    rows = pd.DataFrame() if bins is None else _rows(bins, "full", "after")
    return bits_per_byte_of(float(rows["nll"].sum()), float(rows["bytes"].iloc[0])) if len(rows) else math.nan


def _rows(bins: pd.DataFrame, pattern: str, when: str) -> pd.DataFrame:
    rows: pd.DataFrame = bins[(bins["pattern"] == pattern) & (bins["when"] == when)]
    return rows
