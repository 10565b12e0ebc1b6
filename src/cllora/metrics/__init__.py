"""What a run comes to: metrics of its record, each with a title, a unit, a format and a better direction."""

from cllora.metrics.catalogue import (
    BITS,
    BYTES,
    COUNT,
    EVERYWHERE,
    MEGABYTES,
    NATS,
    RATIO,
    ROUNDS,
    SECONDS,
    SHARE,
    SQUARED_NATS,
    Metric,
    Metrics,
    Unit,
    measured,
    metrics,
)
from cllora.metrics.record import RunRecord

# isort: split
from cllora.metrics import loss, spread, communication  # noqa: F401, I001 (registered in this order)

__all__ = [
    "BITS",
    "BYTES",
    "COUNT",
    "EVERYWHERE",
    "MEGABYTES",
    "NATS",
    "RATIO",
    "ROUNDS",
    "SECONDS",
    "SHARE",
    "SQUARED_NATS",
    "Metric",
    "Metrics",
    "RunRecord",
    "Unit",
    "measured",
    "metrics",
]
