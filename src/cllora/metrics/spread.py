"""Metrics of fairness: the columns of `fairness` in the last round, of losses and of changes against the base; and the
same on texts that all runs share.

How clients' own test texts come out depends on which and how many they are. The metrics of own texts are therefore
compared only between runs that test clients on the same ones; `excess_spread`, `excess_worst_tenth` and `local_spread`
between any two.
"""

import math
from collections.abc import Callable

import numpy as np

from cllora.metrics.catalogue import NATS, RATIO, SQUARED_NATS, metrics
from cllora.metrics.fairness import worst_tenth
from cllora.metrics.formats import number, signed
from cllora.metrics.matched import expected_changes, same_test
from cllora.metrics.record import RunRecord
from cllora.types import Array


@metrics.register(title="loss, mean over clients", unit=NATS, better="lower", places=(), texts="own")
def loss_mean(run: RunRecord) -> float:
    """The mean over clients of the global model's loss on their own test texts, in nats per token."""
    return _final(run, "loss_mean")


@metrics.register(title="loss, variance over clients", unit=SQUARED_NATS, better="lower", places=(), texts="own")
def loss_variance(run: RunRecord) -> float:
    """The population variance over clients of the global model's loss on their own test texts."""
    return _final(run, "loss_variance")


@metrics.register(title="loss of the worst tenth of clients", unit=NATS, better="lower", places=(), texts="own")
def loss_worst_tenth(run: RunRecord) -> float:
    """The mean loss of the tenth of the clients with the highest losses on their own test texts."""
    return _final(run, "loss_worst_tenth")


@metrics.register(title="Jain's index of losses", unit=RATIO, places=(), texts="own")
def loss_jain(run: RunRecord) -> float:
    """Jain's index over clients of the global model's loss on their own test texts: 1 if all are equal."""
    return _final(run, "loss_jain")


@metrics.register(title="change, mean over clients", unit=NATS, better="lower", places=(), format=signed, texts="own")
def change_mean(run: RunRecord) -> float:
    """The mean over clients of the global model's loss minus the base's on their own test texts."""
    return _final(run, "change_mean")


@metrics.register(title="change, variance over clients", unit=SQUARED_NATS, better="lower", places=(), texts="own")
def change_variance(run: RunRecord) -> float:
    """The population variance over clients of the loss minus the base's on their own test texts."""
    return _final(run, "change_variance")


@metrics.register(
    title="spread over clients",
    unit=NATS,
    better="lower",
    short="spread",
    places=("table", "terminal"),
    format=lambda x: number(x, 4),
    texts="own",
)
def change_std(run: RunRecord) -> float:
    """The standard deviation over clients of the loss minus the base's on their own test texts."""
    return _final(run, "change_std")


@metrics.register(
    title="change for the worst tenth of clients",
    unit=NATS,
    better="lower",
    short="worst",
    places=("table", "terminal"),
    format=signed,
    texts="own",
)
def change_worst_tenth(run: RunRecord) -> float:
    """The mean loss minus the base's of the tenth of the clients that training helped least."""
    return _final(run, "change_worst_tenth")


@metrics.register(
    title="Jain's index",
    unit=RATIO,
    better="higher",
    short="Jain",
    places=("table",),
    format=lambda x: number(x, 5),
    texts="own",
)
def ratio_jain(run: RunRecord) -> float:
    """Jain's index over clients of the loss over the base's: 1 where all are helped in the same proportion."""
    return _final(run, "ratio_jain")


@metrics.register(
    title="spread over clients beyond the control's",
    unit=NATS,
    better="lower",
    short="spread",
    places=("terminal", "forest"),
    format=lambda x: number(x, 4),
)
def excess_spread(run: RunRecord, control: RunRecord) -> float:
    """sd_k(e_k under the run's global model) - sd_k(e_k under the control's), with e_k client k's expected change of
    loss against the base (`expected_changes`): the run's clients on the same texts under both. Zero where the models
    are one."""
    return _beyond(run, control, lambda changes: float(np.std(changes)))


@metrics.register(
    title="change for the worst tenth of clients beyond the control's",
    unit=NATS,
    better="lower",
    short="worst",
    places=("terminal", "forest"),
    format=signed,
)
def excess_worst_tenth(run: RunRecord, control: RunRecord) -> float:
    """The mean expected change of the tenth of the run's clients that its global model helps least, minus that of the
    tenth that the control's helps least, on the same texts; as `excess_spread`."""
    return _beyond(run, control, worst_tenth)


@metrics.register(
    title="spread over clients of local minus global loss, global test set",
    unit=NATS,
    better="lower",
    short="local spread",
    places=("forest",),
    format=lambda x: number(x, 4),
)
def local_spread(run: RunRecord) -> float:
    """The standard deviation over trained clients of the loss of their own adapter after their last local training,
    minus the global model's of the same round, on the global test set: all on the same texts. NaN of fewer than two
    clients."""
    gaps = run.last_gaps["test_gap"].dropna()
    return float(np.std(gaps)) if len(gaps) > 1 else math.nan


def _beyond(run: RunRecord, control: RunRecord, over_clients: Callable[[Array], float]) -> float:
    """A statistic over the run's clients of their expected changes under its model, minus the same under the
    control's."""
    if not same_test(run, control) or run.tables.texts.empty:
        return math.nan
    under = [expected_changes(run, model) for model in (run, control)]
    both = [changes[~np.isnan(changes)] for changes in under]
    return over_clients(both[0]) - over_clients(both[1]) if min(map(len, both)) else math.nan


def _final(run: RunRecord, column: str) -> float:
    fairness = run.final_fairness
    return float(fairness[column].iloc[0]) if len(fairness) else math.nan
