"""Measures of a loss curve over the rounds, which its end alone would hide."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

FEWEST_ROUNDS = 4
"""Fewer rounds than this show no oscillation."""


def area(curve: pd.DataFrame) -> float:
    """The mean change of the global loss over the way, in nats per token: (1/T) integral from 0 to T of L(t) - L(0) dt.

    By the trapezoidal rule over the evaluated rounds of a `global_curve`, T being the last. Lower is better: a run that
    learns early has a lower area than one that comes as far late. NaN without round 0 or any other.
    """
    rounds, loss = curve["round"].to_numpy(), curve["loss"].to_numpy(float)
    if len(rounds) < 2 or rounds[0] != 0:
        return math.nan
    return float(np.trapezoid(loss - loss[0], rounds) / rounds[-1])


def late(curve: pd.DataFrame, column: str) -> float:
    """The mean of a column of a `global_curve` over the evaluated rounds after half of the last one."""
    last: float = curve.loc[curve["round"] > curve["round"].iloc[-1] / 2, column].mean()
    return float(curve[column].iloc[-1]) if math.isnan(last) else float(last)


def valley(values: ArrayLike) -> NDArray[np.float64]:
    """The least-squares fit to values (n,) that first never rises and then never falls (either part may be empty).

    For every place of the turn, an isotonic regression on each side; the best of them.
    """
    y = np.asarray(values, float)
    turns = [
        np.concatenate([_monotone(y[:turn], increasing=False), _monotone(y[turn:], increasing=True)])
        for turn in range(len(y) + 1)
    ]
    return min(turns, key=lambda fit: float(((y - fit) ** 2).sum()))


def oscillation(curve: pd.DataFrame) -> float:
    """The oscillation of the global loss about its trend, in nats per token: sqrt(mean (L(t) - V(t))^2) over rounds
    from 1.

    The trend V is the `valley` of the losses, so learning at whatever pace, and over-fitting after it, are no
    oscillation; what goes up and down again is. Where the loss is trend and noise the fit takes up some of the noise,
    the more the fewer rounds there are: compare runs of equally many. NaN with fewer than `FEWEST_ROUNDS`.
    """
    loss = curve.loc[curve["round"] > 0, "loss"].to_numpy(float)
    if len(loss) < FEWEST_ROUNDS or not np.isfinite(loss).all():
        return math.nan
    return float(np.sqrt(np.mean((loss - valley(loss)) ** 2)))


def rounds_to(curve: pd.DataFrame, target: float) -> tuple[int, bool]:
    """The first evaluated round with a loss of `target` or less; if there is none the last round, and False.

    That is censored: all that is known is that it would have taken longer.
    """
    reached = curve[curve["loss"] <= target]
    return (int(reached["round"].iloc[0]), True) if len(reached) else (int(curve["round"].iloc[-1]), False)


def forgetting(classes: pd.DataFrame) -> pd.DataFrame:
    """The forgetting of each class of texts by the global model, from a `class_curve`; in nats per token.

    One row per class: forgotten = max over t of L_c(t) - min over s <= t of L_c(s), the most that was lost of what the
    class's loss had improved, the untrained base (s = 0) included; round, where that was; and forgotten_at_end, the
    same at the last round. Any unrest of the loss makes the first positive: compare it with the control's.
    """
    rows = []
    for number, of_class in classes.sort_values("round").groupby("class"):
        lost = (of_class["loss"] - of_class["loss"].cummin()).to_numpy(float)
        worst = int(lost.argmax())
        rows.append(
            {
                "class": number,
                "forgotten": float(lost[worst]),
                "round": int(of_class["round"].iloc[worst]),
                "forgotten_at_end": float(lost[-1]),
            }
        )
    return pd.DataFrame(rows, columns=["class", "forgotten", "round", "forgotten_at_end"])


def _monotone(values: NDArray[np.float64], increasing: bool) -> NDArray[np.float64]:
    if len(values) < 2:
        return values
    return np.asarray(isotonic_regression(values, increasing=increasing).x, float)
