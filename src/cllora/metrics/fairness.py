"""Fairness over clients: statistics of the clients' losses.

Texts differ in how hard they are, so a spread of raw losses is first of all a spread of texts. Every figure is
therefore given twice: of the losses, and relative to the untrained base on the same texts.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc


def variance(values: ArrayLike) -> float:
    """Population variance, (1/K) sum (x_k - mean)^2: the K clients are all there are, not a sample of them."""
    return float(np.var(np.asarray(values, float)))


def worst_tenth(values: ArrayLike) -> float:
    """The mean over the tenth of the clients with the *highest* values, for a loss (q-FFL, arXiv 1905.10497).

    A tenth is rounded up, so that it is at least one client: 2 of 20, 3 of 21.
    """
    ordered = np.sort(np.asarray(values, float))
    return float(ordered[-math.ceil(len(ordered) / 10) :].mean())


def jain(values: ArrayLike) -> float:
    """Jain's index, (sum x)^2 / (K sum x^2), of positive quantities: 1 if all are equal, 1/K if one has everything."""
    x = np.asarray(values, float)
    return float(x.sum() ** 2 / (len(x) * (x**2).sum()))


def between(changes: ArrayLike, errors: ArrayLike) -> tuple[float, float]:
    """The standard deviation between clients of what they have changes of, beyond the chance of few test texts; and the
    p value of there being none.

    DerSimonian and Laird's estimate: with w_k = 1 / error_k^2, m = sum w_k x_k / sum w_k and Q = sum w_k (x_k - m)^2,
    tau^2 = max(0, Q - (K - 1)) / (sum w_k - sum w_k^2 / sum w_k). Where clients do not differ, Q is chi square with
    K - 1 degrees of freedom. NaN with fewer than two clients, or where an error is not known.
    """
    x, e = np.asarray(changes, float), np.asarray(errors, float)
    if len(x) < 2 or not (e > 0).all():
        return math.nan, math.nan
    w = e**-2
    q = float((w * (x - np.average(x, weights=w)) ** 2).sum())
    beyond = max(0.0, q - (len(x) - 1))
    return math.sqrt(beyond / (w.sum() - (w**2).sum() / w.sum())), float(chdtrc(len(x) - 1, q))


def fairness(clients: pd.DataFrame) -> pd.DataFrame:
    """Fairness over the clients in each round, from the table of `client_losses`.

    One row per round: clients; for the losses (nats per token) loss_mean, loss_variance, loss_worst_tenth and
    loss_jain; for the changes against the base change_mean, change_variance, change_std and change_worst_tenth (of the
    clients helped least); and ratio_jain, of loss / base, because Jain's index wants positive quantities.
    Every client counts once, whatever its size.
    """
    rows = [
        {
            "round": number,
            "clients": len(of_round),
            **_spread("loss", of_round["loss"].tolist()),
            "loss_jain": jain(of_round["loss"]),
            **_spread("change", of_round["change"].tolist()),
            "change_std": math.sqrt(variance(of_round["change"])),
            "ratio_jain": jain(of_round["ratio"]),
        }
        for number, of_round in clients.dropna(subset=["loss", "base"]).groupby("round")
    ]
    return pd.DataFrame(rows, columns=["round", "clients", *FAIRNESS])


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {
        f"{name}_mean": float(np.mean(values)),
        f"{name}_variance": variance(values),
        f"{name}_worst_tenth": worst_tenth(values),
    }


FAIRNESS = (
    "loss_mean",
    "loss_variance",
    "loss_worst_tenth",
    "loss_jain",
    "change_mean",
    "change_variance",
    "change_std",
    "change_worst_tenth",
    "ratio_jain",
)
"""The columns of `fairness`, one number per round each."""
