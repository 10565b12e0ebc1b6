"""Failure signatures: rules on curves that mark the round and the client in which a run fails.

Every rule has its thresholds as keyword arguments, in nats per token unless said otherwise, and counts evaluated rounds
only. They mark what is worth looking at; whether a setting causes it is a question for `contrasts`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from cllora.metrics.fairness import between
from cllora.metrics.losses import Tables
from cllora.store import Object

TESTS = {"own_local": "its own test texts", "test_local": "the global test texts"}


@dataclass(frozen=True)
class Signature:
    """A failure that a rule marks: its round and client (None: the whole run), its size, and a sentence."""

    name: str
    round: int
    client: int | None
    size: float
    sentence: str


def signatures(tables: Tables, rounds: Sequence[Object]) -> list[Signature]:
    """All that the rules of this module find in a run, each at its own thresholds, in the order of rounds.

    Args:
        tables: of the run's losses.
        rounds: the objects of `rounds.jsonl`.
    """
    marks = [
        *global_oscillation(tables.curve),
        *early_overfitting(turns(tables.gaps, rounds)),
        *fairness_collapse(tables.clients),
        *divergence(tables.curve),
        *never_learns(tables.clients),
    ]
    return sorted(marks, key=lambda mark: (mark.round, mark.name, -1 if mark.client is None else mark.client))


def global_oscillation(
    curve: pd.DataFrame, *, peaks: int = 2, share: float = 0.1, floor: float = 0.01
) -> list[Signature]:
    """The global loss goes up and down again, `peaks` times or more; one signature at the top of each.

    A peak rises from the lowest loss since the last one, and falls again, by h or more: h = max(floor, share * G), with
    G = L(0) - min L what training gained at its best. Rounds from 1 on. One rise that stays is no oscillation.
    Size: how far it rose.
    """
    after = curve[(curve["round"] > 0) & np.isfinite(curve["loss"])]
    if after.empty:
        return []
    gained = float(curve["loss"].iloc[0] - after["loss"].min())
    height = max(floor, share * gained) if math.isfinite(gained) else floor
    tops = _peaks(after["loss"].to_numpy(float), height)
    if len(tops) < peaks:
        return []
    numbers = after["round"].to_numpy()
    return [
        Signature(
            "global oscillation", int(numbers[at]), None, rise, f"the global loss rose by {rise:.3f} and fell again"
        )
        for at, rise in tops
    ]


def divergence(curve: pd.DataFrame, *, above: float = 0.1, lasting: int = 2) -> list[Signature]:
    """The global model is worse than the untrained base by more than `above`, or its loss is no number any more.

    L(t) - L(0) > above in `lasting` rounds in a row, or in the last one; marked where that begins. A loss that is not
    finite is marked at once. Size: L(t) - L(0) there.
    """
    loss, numbers = curve["loss"].to_numpy(float), curve["round"].to_numpy()
    finite = np.isfinite(loss)
    with np.errstate(invalid="ignore"):
        worse = loss - loss[0]
    high = ~finite | (worse > above)
    lasts = _begin(high, lasting)
    at_end = np.flatnonzero(high[-1:]) + len(high) - 1
    begins = [*np.flatnonzero(~finite), *at_end, *([] if lasts is None else [lasts])]
    if not begins:
        return []
    at = int(min(begins))
    size = float(worse[at]) if finite[at] else math.inf
    sentence = (
        f"the global loss is {size:.3f} above the untrained base's" if finite[at] else "the global loss is not finite"
    )
    return [Signature("divergence", int(numbers[at]), None, size, sentence)]


def fairness_collapse(
    clients: pd.DataFrame, *, k: float = 1.0, floor: float = 0.01, lasting: int = 2, alarm: float = 0.05
) -> list[Signature]:
    """Clients differ more in what they gained than training ever gained them on average.

    tau(t) > max(floor, k * G) in `lasting` rounds in a row, with tau(t) the standard deviation between clients of the
    change against the base, beyond the chance of few test texts (`fairness.between`), and G the largest mean gain of
    any round, max over t of -mean change. Only where chance alone would give such differences with a probability below
    `alarm`. Marked where that begins, with the client that is worst off there. Size: tau(t).
    """
    after = clients[(clients["round"] > 0) & clients["change"].notna()]
    if after.empty:
        return []
    numbers, of_rounds = zip(*after.groupby("round"), strict=True)
    spread, p = np.array([between(rows["change"], rows["error"]) for rows in of_rounds]).T
    gain = max(-float(rows["change"].mean()) for rows in of_rounds)
    begin = _begin((spread > max(floor, k * gain)) & (p < alarm), lasting)
    if begin is None:
        return []
    size, rows = float(spread[begin]), of_rounds[begin]
    worst = int(rows["client"].iloc[int(rows["change"].argmax())])
    sentence = f"clients' changes of loss spread by {size:.3f}, more than training gained them on average"
    return [Signature("fairness collapse", int(str(numbers[begin])), worst, size, sentence)]


def never_learns(
    clients: pd.DataFrame, *, share: float = 0.1, floor: float = 0.01, alarm: float = 0.05
) -> list[Signature]:
    """The global model never gains a client even a tenth of what it gains clients on average; one for each client.

    g_k + z e_k < share * G in every round, with g_k(t) the base's loss on client k's own test texts minus the global
    model's, e_k its standard error (the client's `error`), and G = max over t of the mean of g_k(t) over clients, if G
    is `floor` or more: where nobody learns, no one client fails to. z makes the chance that any of the K clients is
    marked that gains `share * G` or more at most `alarm`: Phi(-z) = alarm / K. Marked at the last round. Size: the
    client's largest gain, which may be negative.
    """
    after = clients[(clients["round"] > 0) & clients["change"].notna()]
    if after.empty:
        return []
    gain = -float(after.groupby("round")["change"].mean().min())
    last = int(after["round"].max())
    if gain < floor:
        return []
    z = -float(ndtri(alarm / after["client"].nunique()))
    most = (z * after["error"] - after["change"]).groupby(after["client"]).max()
    best = -after.groupby("client")["change"].min()
    return [
        Signature(
            "never learns",
            last,
            int(str(client)),
            float(size),
            f"client {client}'s loss never fell by more than {max(0.0, size):.3f}, where clients' fell by {gain:.3f}",
        )
        for client, size in best[most < share * gain].items()
    ]


def turns(gaps: pd.DataFrame, rounds: Sequence[Object]) -> pd.DataFrame:
    """The table that `early_overfitting` reads, one row per evaluated round and client trained in it.

    Columns round, client, train_loss (of `rounds.jsonl`), own_local and test_local (of `local_gaps`), last (the run's
    last round).
    """
    trained = pd.DataFrame(
        [
            (record["round"], client["client"], client["train_loss"])
            for record in rounds
            for client in record["clients"]
            if "train_loss" in client
        ],
        columns=["round", "client", "train_loss"],
    )
    joined = gaps[["round", "client", *TESTS]].astype({"round": "int64", "client": "int64"})
    joined = joined.merge(trained.astype({"round": "int64", "client": "int64"}), on=["round", "client"])
    return joined.assign(last=max((record["round"] for record in rounds), default=0))


def early_overfitting(turns: pd.DataFrame, *, rise: float = 0.02, early: float = 0.5) -> list[Signature]:
    """A client's training loss goes on falling while the loss of its own adapter on test texts rises again.

    Of a client's turns, with x their loss after local training on its own test texts, or on the global test texts, b is
    the one of the lowest x so far. Marked is the first turn t with x(t) - x(b) >= rise and train(b) - train(t) >= rise,
    if b came `early`, in the first half of the run's rounds. One signature per client, of whichever test texts come
    first. Size: x(t) - x(b). A client needs two turns to show it.
    """
    marks = []
    for client, of_client in turns.sort_values("round").groupby("client"):
        seen = [mark for test in TESTS for mark in _overfits(int(str(client)), of_client, test, rise, early)]
        marks += sorted(seen, key=lambda mark: mark.round)[:1]
    return marks


def _overfits(client: int, turns: pd.DataFrame, test: str, rise: float, early: float) -> Iterator[Signature]:
    measured = turns.dropna(subset=[test, "train_loss"])
    number, train, x = (measured[column].to_numpy(float) for column in ("round", "train_loss", test))
    for t in range(1, len(x)):
        b = int(x[:t].argmin())
        fell, rose = float(train[b] - train[t]), float(x[t] - x[b])
        if fell >= rise and rose >= rise and number[b] <= early * float(measured["last"].iloc[0]):
            sentence = (
                f"since round {number[b]:.0f} client {client}'s training loss fell by {fell:.3f}, "
                f"and its loss on {TESTS[test]} rose by {rose:.3f}"
            )
            yield Signature("early over-fitting", int(number[t]), client, rose, sentence)
            return


def _peaks(values: NDArray[np.float64], height: float) -> list[tuple[int, float]]:
    """The peaks of values (n,), which rise by `height` or more above the lowest since the last peak and then fall by as
    much; and the rise of each."""
    peaks = []
    low, top, rising = values[0], 0, False
    for at, x in enumerate(values):
        if rising and x > values[top]:
            top = at
        elif rising and x <= values[top] - height:
            peaks.append((top, float(values[top] - low)))
            low, rising = x, False
        elif not rising and x >= low + height:
            top, rising = at, True
        elif not rising:
            low = min(low, x)
    return peaks


def _begin(flags: NDArray[np.bool_], lasting: int) -> int | None:
    """The start of the first stretch of `lasting` true flags."""
    for at in range(len(flags) - lasting + 1):
        if flags[at : at + lasting].all():
            return at
    return None
