"""Metrics of what a run cost: bytes over the network, time and memory."""

import math

from cllora.metrics.catalogue import BYTES, MEGABYTES, RATIO, SECONDS, SHARE, metrics
from cllora.metrics.formats import number
from cllora.metrics.record import RunRecord


@metrics.register(title="bytes up", unit=BYTES, better="lower", places=())
def bytes_up(run: RunRecord) -> float:
    """Bytes of all clients' messages to the server."""
    return _sum(run, "bytes_up")


@metrics.register(title="bytes down", unit=BYTES, better="lower", places=())
def bytes_down(run: RunRecord) -> float:
    """Bytes of all of the server's messages to clients."""
    return _sum(run, "bytes_down")


@metrics.register(title="traffic up and down", unit=BYTES, better="lower", short="MB", places=("table", "terminal"))
def bytes_sent(run: RunRecord) -> float:
    """Bytes of all messages, in both directions."""
    return bytes_up(run) + bytes_down(run)


@metrics.register(title="bytes of the full model as often", unit=BYTES, places=())
def bytes_full(run: RunRecord) -> float:
    """Bytes that the full model in float32 would have cost, sent just as often: messages x its size.

    A message is one client's download or upload in one round, if it had any bytes. NaN without messages, or where the
    model's size was not recorded.
    """
    clients = [client for record in run.rounds for client in record["clients"]]
    messages = sum((client["bytes_up"] > 0) + (client["bytes_down"] > 0) for client in clients)
    size = run.environment.communication.full_bytes
    return messages * size if size and messages else math.nan


@metrics.register(title="saved", unit=SHARE, better="higher", places=("table", "terminal"))
def saved(run: RunRecord) -> float:
    """The share of the communication saved against sending the full model: 1 - bytes_sent / bytes_full."""
    return 1 - bytes_sent(run) / bytes_full(run)


@metrics.register(title="seconds", unit=SECONDS, better="lower", places=("table",))
def seconds(run: RunRecord) -> float:
    """Seconds that all rounds took, evaluation included."""
    return float(sum(record["seconds"] for record in run.rounds))


@metrics.register(
    title="seconds of local training", unit=SECONDS, better="lower", places=(), format=lambda x: number(x, 1)
)
def training_seconds(run: RunRecord) -> float:
    """Seconds of all clients' local training."""
    clients = [client for record in run.rounds for client in record["clients"]]
    return float(run.costs.get("training_seconds", sum(client["seconds"] for client in clients)))


@metrics.register(
    title="training time over the control's", unit=RATIO, better="lower", places=(), format=lambda x: number(x, 2)
)
def time_ratio(run: RunRecord, control: RunRecord) -> float:
    """Seconds of all clients' local training over the control's of the same seed."""
    whole = training_seconds(control)
    return training_seconds(run) / whole if whole else math.nan


@metrics.register(title="peak memory", unit=MEGABYTES, better="lower", places=())
def peak_mb(run: RunRecord) -> float:
    """Peak memory of the whole process while clients train, in MB (10^6 bytes); NaN where it is not known."""
    peak = run.costs.get("peak_mb")
    return math.nan if peak is None else float(peak)


@metrics.register(title="bytes of a message", unit=BYTES, better="lower", places=())
def message_bytes(run: RunRecord) -> float:
    """Bytes of one adapter as a serialised message; NaN where it was not recorded."""
    size = run.environment.communication.message_bytes
    return math.nan if size is None else float(size)


def _sum(run: RunRecord, column: str) -> float:
    total: float = sum(client[column] for record in run.rounds for client in record["clients"])
    return total
