"""Measures of a loss curve over the rounds, which its end alone would hide."""

import math

import numpy as np
import pandas as pd

FEWEST_ROUNDS = 4
"""Fewer evaluated rounds than this show no oscillation."""


def area(curve: pd.DataFrame) -> float:
    """The mean change of the global loss over the way, in nats per token: (1/T) integral from 0 to T of L(t) - L(0) dt.

    By the trapezoidal rule over the evaluated rounds of a `global_curve`, T being the last. Lower is better: a run that
    learns early has a lower area than one that comes as far late. NaN without round 0 or any other.
    """
    rounds, loss = curve["round"].to_numpy(), curve["loss"].to_numpy(float)
    if len(rounds) < 2 or rounds[0] != 0:
        return math.nan
    return float(np.trapezoid(loss - loss[0], rounds) / rounds[-1])


def is_late(rounds: "pd.Series[int]") -> "pd.Series[bool]":
    """Whether evaluated rounds, in order, come after half of the last one; the last one does."""
    return (rounds > rounds.iloc[-1] / 2) | (rounds == rounds.iloc[-1])


def late(curve: pd.DataFrame, column: str) -> float:
    """The mean of a column of a `global_curve` over the evaluated rounds after half of the last one."""
    return float(curve.loc[is_late(curve["round"]), column].mean())


def oscillation(curve: pd.DataFrame) -> float:
    """The oscillation of the global loss from round to round, in nats per token: sqrt(pi / 12) times the mean of
    |L(t+1) - 2 L(t) + L(t-1)| over evaluated rounds in a row, the first of them after round 0.

    Successive differences leave out any straight trend, and are not nothing by chance in a short run, as what is left
    of a fitted curve can be. Of a straight trend with independent normal noise it is the noise's standard deviation, at
    any number of rounds. A curve that bends counts too: compare runs of equal length and evaluation. NaN with fewer
    than `FEWEST_ROUNDS`.
    """
    loss = curve.loc[curve["round"] > 0, "loss"].to_numpy(float)
    if len(loss) < FEWEST_ROUNDS or not np.isfinite(loss).all():
        return math.nan
    return float(math.sqrt(math.pi / 12) * np.abs(np.diff(loss, 2)).mean())


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
