"""Update geometry as tables: how clients' updates relate, and whether clients with other texts pull another way.

The numbers are those of the probe `update_geometry`; their formulas are in docs/method.md.
"""

import math

import numpy as np
import pandas as pd

from cllora.metrics.losses import class_numbers
from cllora.metrics.matched import class_mixes
from cllora.partition.heterogeneity import jensen_shannon
from cllora.stats import Block, Correlation, dyadic_correlation
from cllora.types import Array, Partition

NUMBERS = ("norm", "cosine", "diversity", "drift", "averaging_error", "effective_rank", "effective_updates")
"""The numbers recorded of a round, in total and by layer."""


def by_round(geometry: pd.DataFrame) -> pd.DataFrame:
    """All layers together, one row per round with updates: round, clients, and `NUMBERS` (NaN where undefined).

    Args:
        geometry: the table of the probe `update_geometry`.
    """
    rows, clients = _scope(geometry, "all"), _scope(geometry, "client")
    counts = rows["round"].map(clients["round"].value_counts()).fillna(0).astype(int)
    return rows.assign(clients=counts)[["round", "clients", *NUMBERS]]


def by_layer(geometry: pd.DataFrame) -> pd.DataFrame:
    """`by_round` for each layer: round, layer (its name, or number where names are not recorded), `NUMBERS`."""
    return _scope(geometry, "layer")[["round", "layer", *NUMBERS]]


def disagreements(geometry: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """Every two clients trained in the same round: do they hold other texts, and did they pull another way?

    One row per round and pair: round, client < other, disagreement = 1 - cosine of their updates (0 to 2), and
    distance, the Jensen-Shannon divergence of their class mixes (bits, 0 to 1) over training texts; NaN where the
    partition knows no two classes. Of rounds with very many clients no pair is recorded.
    """
    pairs = _scope(geometry, "pair")
    pairs = pairs.assign(disagreement=1 - pairs["cosine"])[["round", "client", "other", "disagreement"]]
    mixes = _mixes(partition)
    if mixes is None or pairs.empty:
        return pairs.assign(distance=math.nan)
    return pairs.assign(distance=jensen_shannon(mixes[pairs["client"]], mixes[pairs["other"]]))


def correlation(pairs: pd.DataFrame, level: float = 0.95) -> Correlation:
    """The correlation of the disagreement of two clients' updates with the distance of their class mixes, within runs.

    Spearman's rank correlation with the trend over rounds taken out, and an interval over clients: see
    `cllora.stats.dyadic_correlation`.

    Args:
        pairs: `disagreements` of one or several runs, these told apart by a column `run` if there is one.
    """
    measured = pairs.dropna(subset=["disagreement", "distance"])
    by_run = measured.groupby(measured["run"] if "run" in measured else np.zeros(len(measured)), sort=False)
    blocks = [
        Block(
            rows[["client", "other"]].to_numpy(),
            *(rows[column].to_numpy(float) for column in ("distance", "disagreement", "round")),
        )
        for _, rows in by_run
    ]
    return dyadic_correlation(blocks, level)


def _mixes(partition: Partition) -> Array | None:
    """Clients' mixes of the classes of training texts; None where the partition knows no two of them."""
    classes = np.unique(class_numbers(partition, partition.train_ids))
    return None if len(classes) < 2 or classes[0] < 0 else class_mixes(partition, classes)


def _scope(geometry: pd.DataFrame, scope: str) -> pd.DataFrame:
    """The rows of one scope; of a table without columns (nothing was recorded) none."""
    table = geometry[geometry["scope"] == scope] if "scope" in geometry else geometry[:0]
    table = table.reindex(columns=["round", "scope", "layer", "client", "other", *NUMBERS]).reset_index(drop=True)
    return table.astype({"round": int, "client": int, "other": int, **dict.fromkeys(NUMBERS, float)})
