"""Partitions of texts over clients, and their heterogeneity."""

from cllora.partition import schemes as schemes  # registers the partitioners
from cllora.partition.assign import BaseNll, assign, check_residual
from cllora.partition.classes import classes_of, quantile_classes
from cllora.partition.confounds import confounds
from cllora.partition.deal import Deal
from cllora.partition.estimate import Estimate, mix_alpha, size_alpha
from cllora.partition.heterogeneity import gini, heterogeneity
from cllora.partition.make import make_partition
from cllora.partition.owners import FeatureSkew, Inspection, Owners, inspect_owners
from cllora.partition.pool import Alpha, Axis, Partitioner, Pool, partitioners, pool_of
from cllora.partition.ranks import rank_alpha
from cllora.partition.residual import place_at_length, rank_correlation
from cllora.partition.variation import variation_alpha

__all__ = [
    "Alpha",
    "Axis",
    "BaseNll",
    "Deal",
    "Estimate",
    "FeatureSkew",
    "Inspection",
    "Owners",
    "Partitioner",
    "Pool",
    "assign",
    "check_residual",
    "classes_of",
    "confounds",
    "gini",
    "heterogeneity",
    "inspect_owners",
    "make_partition",
    "mix_alpha",
    "partitioners",
    "place_at_length",
    "pool_of",
    "quantile_classes",
    "rank_alpha",
    "rank_correlation",
    "size_alpha",
    "variation_alpha",
]
