"""Metrics of fairness: the columns of `fairness` in the last round, of losses and of changes against the base."""

import math

from cllora.metrics.catalogue import NATS, RATIO, SQUARED_NATS, metrics
from cllora.metrics.formats import number, signed
from cllora.metrics.record import RunRecord


@metrics.register(title="loss, mean over clients", unit=NATS, better="lower", places=())
def loss_mean(run: RunRecord) -> float:
    """The mean over clients of the global model's loss on their own test texts, in nats per token."""
    return _final(run, "loss_mean")


@metrics.register(title="loss, variance over clients", unit=SQUARED_NATS, better="lower", places=())
def loss_variance(run: RunRecord) -> float:
    """The population variance over clients of the global model's loss on their own test texts."""
    return _final(run, "loss_variance")


@metrics.register(title="loss of the worst tenth of clients", unit=NATS, better="lower", places=())
def loss_worst_tenth(run: RunRecord) -> float:
    """The mean loss of the tenth of the clients with the highest losses on their own test texts."""
    return _final(run, "loss_worst_tenth")


@metrics.register(title="Jain's index of losses", unit=RATIO, places=())
def loss_jain(run: RunRecord) -> float:
    """Jain's index over clients of the global model's loss on their own test texts: 1 if all are equal."""
    return _final(run, "loss_jain")


@metrics.register(title="change, mean over clients", unit=NATS, better="lower", places=(), format=signed)
def change_mean(run: RunRecord) -> float:
    """The mean over clients of the global model's loss minus the base's on their own test texts."""
    return _final(run, "change_mean")


@metrics.register(title="change, variance over clients", unit=SQUARED_NATS, better="lower", places=())
def change_variance(run: RunRecord) -> float:
    """The population variance over clients of the loss minus the base's on their own test texts."""
    return _final(run, "change_variance")


@metrics.register(title="spread over clients", unit=NATS, better="lower", short="spread", format=lambda x: number(x, 4))
def change_std(run: RunRecord) -> float:
    """The standard deviation over clients of the loss minus the base's on their own test texts."""
    return _final(run, "change_std")


@metrics.register(
    title="change for the worst tenth of clients", unit=NATS, better="lower", short="worst", format=signed
)
def change_worst_tenth(run: RunRecord) -> float:
    """The mean loss minus the base's of the tenth of the clients that training helped least."""
    return _final(run, "change_worst_tenth")


@metrics.register(
    title="Jain's index", unit=RATIO, better="higher", short="Jain", places=("table",), format=lambda x: number(x, 5)
)
def ratio_jain(run: RunRecord) -> float:
    """Jain's index over clients of the loss over the base's: 1 where all are helped in the same proportion."""
    return _final(run, "ratio_jain")


def _final(run: RunRecord, column: str) -> float:
    fairness = run.final_fairness
    return float(fairness[column].iloc[0]) if len(fairness) else math.nan
