"""Why skew does what it does: how clients' updates relate, and whether clients with other texts pull another way.

The numbers are those of the probe `update_geometry`; their formulas are in docs/method.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cllora.partition.heterogeneity import jensen_shannon
from cllora.types import Array, Partition

NUMBERS = ("norm", "cosine", "diversity", "drift", "averaging_error", "effective_rank", "effective_updates")
"""What is recorded of a round in total and by layer."""

RELATED = ("distance", "disagreement", "round")
"""What `relation` ranks: the first two against each other, within what the third leaves."""

FEWEST_PAIRS = 5
"""With fewer pairs nothing is said of how two things relate."""

MOST_LEFT_OUT = 2000
"""In a run with more pairs they are not left out one by one, which would take long; the interval is wider for it."""


def mechanism_curve(geometry: pd.DataFrame) -> pd.DataFrame:
    """All layers together, one row per round with updates: round, clients, and `NUMBERS` (NaN where undefined).

    Args:
        geometry: the table of the probe `update_geometry`.
    """
    rows, clients = _scope(geometry, "all"), _scope(geometry, "client")
    counts = rows["round"].map(clients["round"].value_counts()).fillna(0).astype(int)
    return rows.assign(clients=counts)[["round", "clients", *NUMBERS]]


def mechanism_layers(geometry: pd.DataFrame) -> pd.DataFrame:
    """`mechanism_curve` for each layer: round, layer (its name, or number where names are not recorded), `NUMBERS`."""
    return _scope(geometry, "layer")[["round", "layer", *NUMBERS]]


def client_drifts(geometry: pd.DataFrame) -> pd.DataFrame:
    """One row per round and client trained in it: round, client, norm |d_k|, and drift |d_k - d| / |d|."""
    return _scope(geometry, "client")[["round", "client", "norm", "drift"]]


def disagreements(geometry: pd.DataFrame, partition: Partition) -> pd.DataFrame:
    """Every two clients trained in the same round: do they hold other texts, and did they pull another way?

    One row per round and pair: round, client < other, disagreement = 1 - cosine of their updates (0 to 2), and
    distance, the Jensen-Shannon divergence of their class mixes (bits, 0 to 1) over training texts; NaN where the
    partition knows no two classes. Of rounds with very many clients no pair is recorded.
    """
    pairs = _scope(geometry, "pair")
    pairs = pairs.assign(disagreement=1 - pairs["cosine"])[["round", "client", "other", "disagreement"]]
    mixes = _class_mixes(partition)
    if mixes is None or pairs.empty:
        return pairs.assign(distance=math.nan)
    return pairs.assign(distance=jensen_shannon(mixes[pairs["client"]], mixes[pairs["other"]]))


@dataclass(frozen=True)
class Relation:
    """Spearman's rho between two things about pairs, its interval, and how many pairs and clients it is from."""

    rho: float
    low: float
    high: float
    pairs: int
    clients: int


def relation(pairs: pd.DataFrame, level: float = 0.95) -> Relation:
    """How the disagreement of two clients' updates goes with the distance of their class mixes, within runs.

    rho is Spearman's, the trend over rounds taken out: within each run, disagreement, distance and round are ranked and
    the first two are replaced by what is left of them after regression on the third; rho is their correlation over
    all runs.

    A client is in many pairs, which are therefore not independent: counting pairs would make the doubt too small. The
    interval is a jackknife over clients, whose variance counts each pair twice, once per client; what a jackknife over
    pairs gives is taken off once, and is the least there is (the dyadic-robust variance of Aronow, Samii and Assenova
    2015, arXiv 1312.3398, by leaving out). Of z = artanh rho, with Student's t, N - 1 degrees of freedom for N clients.

    NaN where there are fewer than `FEWEST_PAIRS` pairs, or no differences to rank.

    Args:
        pairs: `disagreements` of one or several runs, these told apart by a column `run` if there is one.
    """
    known = pairs.dropna(subset=["disagreement", "distance"])
    by_run = known.groupby(known["run"] if "run" in known else np.zeros(len(known)), sort=False)
    runs = [(of_run[["client", "other"]].to_numpy(), of_run[[*RELATED]].to_numpy(float)) for _, of_run in by_run]
    sums = np.array([_rank_sums(values) for _, values in runs]).reshape(len(runs), 3)
    total = sums.sum(axis=0)
    z = math.nan if len(known) < FEWEST_PAIRS else _artanh(total)
    clients, dyads = [], []
    for of_run, (who, values) in zip(sums, runs, strict=True):
        rest = total - of_run
        clients += [_artanh(rest + _rank_sums(values[(who != client).all(axis=1)])) for client in np.unique(who)]
        pairs_of_run = np.unique(who, axis=0) if len(who) <= MOST_LEFT_OUT else who[:0]
        dyads += [_artanh(rest + _rank_sums(values[(who != pair).any(axis=1)])) for pair in pairs_of_run]
    n, half = len(clients), math.nan
    if n > 2 and not math.isnan(z):
        variance = max(_jackknife(clients) - _jackknife(dyads), _jackknife(dyads))
        half = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance)
    return Relation(math.tanh(z), math.tanh(z - half), math.tanh(z + half), len(known), n)


def _jackknife(without: Sequence[float]) -> float:
    """The variance of an estimate, from what it is without each of n things: (n - 1)/n sum (z_i - mean)^2."""
    return float(np.var(without)) * (len(without) - 1) if without else 0.0


def _rank_sums(values: Array) -> Array:
    """Of one run's `RELATED` (n, 3), ranked, the trend x and y have with t taken out: sum xy, sum xx, sum yy.

    Divided by n^2, so that a run counts by its pairs.
    """
    n = len(values)
    if n < 2:
        return np.zeros(3)
    x, y, t = (_centred_ranks(column) for column in values.T)
    trend = t / math.sqrt(t @ t) if t.any() else t
    x, y = x - (x @ trend) * trend, y - (y @ trend) * trend
    return np.array([x @ y, x @ x, y @ y]) / n**2


def _centred_ranks(values: Array) -> Array:
    """Ranks (n,), equal values sharing the mean of theirs, less their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return np.asarray(ranks - (len(values) + 1) / 2)


def _artanh(sums: Array) -> float:
    """Fisher's z of the correlation that these sums make; NaN where one side does not vary."""
    xy, xx, yy = sums
    if min(xx, yy) < 1e-9:
        return math.nan
    return math.atanh(min(max(xy / math.sqrt(xx * yy), -1 + 1e-9), 1 - 1e-9))


def _class_mixes(partition: Partition) -> Array | None:
    """Each client's shares of the classes among its training texts (K, C); NaN for a client without any."""
    if partition.class_of is None:
        return None
    owners = np.repeat(np.arange(partition.num_clients), np.diff(partition.train_offsets))
    classes = partition.class_of[partition.train_ids]
    many = int(classes.max(initial=-1)) + 1
    if many < 2 or classes.min() < 0:
        return None
    counts = np.bincount(owners * many + classes, minlength=partition.num_clients * many).reshape(-1, many)
    sizes = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, sizes, out=np.full(counts.shape, np.nan), where=sizes > 0))


def _scope(geometry: pd.DataFrame, scope: str) -> pd.DataFrame:
    """The rows of one scope; of a table without columns (nothing was recorded) none."""
    table = geometry.reindex(columns=["round", "scope", "layer", "client", "other", *NUMBERS])
    table = table.astype({"round": int, "client": int, "other": int, **dict.fromkeys(NUMBERS, float)})
    return table[table["scope"] == scope].reset_index(drop=True)
