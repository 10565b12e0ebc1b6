"""Who owns which text, and how unlike the owners are."""

from cllora.partition import schemes as schemes  # registers the partitioners
from cllora.partition.cautions import warnings_of
from cllora.partition.classes import classes_of, quantile_classes
from cllora.partition.deal import Deal
from cllora.partition.heterogeneity import heterogeneity
from cllora.partition.make import make_partition
from cllora.partition.pool import Alpha, Partitioner, Pool, partitioners, pool_of

__all__ = [
    "Alpha",
    "Deal",
    "Partitioner",
    "Pool",
    "classes_of",
    "heterogeneity",
    "make_partition",
    "partitioners",
    "pool_of",
    "quantile_classes",
    "warnings_of",
]
