"""Metrics of a run's record, each with a title, a unit, a format and a better direction."""

from cllora.metrics.catalogue import (
    BITS,
    BYTES,
    COUNT,
    EVERYWHERE,
    MARGIN,
    MEGABYTES,
    NATS,
    RATIO,
    ROUNDS,
    SECONDS,
    SHARE,
    SQUARED_NATS,
    Better,
    Metric,
    Metrics,
    Place,
    Unit,
    measured,
    metrics,
)
from cllora.metrics.losses import Tables, tables
from cllora.metrics.record import RunRecord

# isort: split
from cllora.metrics import loss, spread, communication, positions  # noqa: F401, I001 (in the order of their metrics)

__all__ = [
    "BITS",
    "BYTES",
    "COUNT",
    "EVERYWHERE",
    "MARGIN",
    "MEGABYTES",
    "NATS",
    "RATIO",
    "ROUNDS",
    "SECONDS",
    "SHARE",
    "SQUARED_NATS",
    "Better",
    "Metric",
    "Metrics",
    "Place",
    "RunRecord",
    "Tables",
    "Unit",
    "measured",
    "metrics",
    "tables",
]
