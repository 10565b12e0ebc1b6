"""What a run came to: one flat row of numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cllora.metrics.curves import area, forgetting, oscillation
from cllora.metrics.fairness import FAIRNESS, fairness
from cllora.metrics.losses import Tables

IN_NATS = frozenset(
    {
        "base_loss",
        "final_loss",
        "final_loss_per_sample",
        "change",
        "best_loss",
        "area",
        "oscillation",
        "local_loss",
        "local_change",
        "own_gap",
        "test_gap",
        "personal_loss",
        "barrier",
        "position_loss",
        "last_position_loss",
        "forgetting",
        "forgetting_worst",
        "forgetting_at_end",
        "loss_mean",
        "loss_worst_tenth",
        "change_mean",
        "change_std",
        "change_worst_tenth",
    }
)
"""The outcomes that are in nats per token."""


def outcomes(
    tables: Tables,
    rounds: Sequence[Mapping[str, Any]],
    full_bytes: int | None = None,
    surface: pd.DataFrame | None = None,
) -> dict[str, float]:
    """One run in numbers; losses in nats per token; what was not measured is NaN.

    rounds              the last round that was evaluated
    base_loss           the untrained base on the global test set
    final_loss, final_loss_per_sample, change = final_loss - base_loss
    best_loss, best_round   the lowest of all evaluated rounds: the better the more rounds there are to choose from
    area, oscillation   of the global loss, as in `curves`
    forgetting, forgetting_worst, forgetting_at_end   as in `curves.forgetting`: what was forgotten, mean over classes
                        and the worst class's, and what is at the end, mean over classes
    local_loss, local_change, own_gap, test_gap   own_local, own_change, own_gap and test_gap of `local_gaps`, each
                        client's last local training, mean over clients
    personal_loss       every client's own final adapter on its own test texts, mean over clients
    barrier             between two clients' adapters of the last round, as in `cllora.probes.loss_surface`
    loss_mean ...       the columns of `fairness` in the last round
    bytes_up, bytes_down, bytes_full, saved, seconds   as in `communication`

    Args:
        tables: of the run's losses.
        rounds: the objects of `rounds.jsonl`.
        full_bytes: the size of all of the model's parameters in float32, if it is known.
        surface: the table of the probe `loss_surface`, if it was measured.
    """
    curve, clients = tables.curve, tables.clients
    first, last = curve.iloc[0], curve.iloc[-1]
    best = curve.iloc[int(curve["loss"].argmin())]
    fair = fairness(clients[clients["round"] == last["round"]])
    gaps = tables.gaps.sort_values("round").groupby("client").tail(1)
    lost = forgetting(tables.classes)
    base = float(first["loss"]) if first["round"] == 0 else math.nan
    return {
        "rounds": int(last["round"]),
        "base_loss": base,
        "final_loss": float(last["loss"]),
        "final_loss_per_sample": float(last["loss_per_sample"]),
        "change": float(last["loss"]) - base,
        "best_loss": float(best["loss"]),
        "best_round": int(best["round"]),
        "area": area(curve),
        "oscillation": oscillation(curve),
        "forgetting": float(lost["forgotten"].mean()),
        "forgetting_worst": float(lost["forgotten"].max()),
        "forgetting_at_end": float(lost["forgotten_at_end"].mean()),
        "local_loss": float(gaps["own_local"].mean()),
        "local_change": float(gaps["own_change"].mean()),
        "own_gap": float(gaps["own_gap"].mean()),
        "test_gap": float(gaps["test_gap"].mean()),
        "personal_loss": float(tables.personal["loss"].mean()),
        "barrier": math.nan if surface is None else _barrier(surface),
        **{name: float(fair[name].iloc[0]) if len(fair) else math.nan for name in FAIRNESS},
        **communication(rounds, full_bytes),
    }


def _barrier(surface: pd.DataFrame) -> float:
    line = surface[surface["kind"] == "line"]
    return float(line["rise"].max(skipna=False)) if len(line) else math.nan


def communication(rounds: Sequence[Mapping[str, Any]], full_bytes: int | None = None) -> dict[str, float]:
    """Bytes that crossed the network, and the share saved against sending the full model just as often.

    bytes_full = messages * full_bytes, where a message is one client's download or upload in one round, if it had
    any bytes; saved = 1 - (bytes_up + bytes_down) / bytes_full. NaN without `full_bytes` or without messages.
    """
    exchanges = [client for record in rounds for client in record["clients"]]
    up = sum(client["bytes_up"] for client in exchanges)
    down = sum(client["bytes_down"] for client in exchanges)
    messages = sum((client["bytes_up"] > 0) + (client["bytes_down"] > 0) for client in exchanges)
    full = messages * full_bytes if full_bytes and messages else math.nan
    return {
        "bytes_up": up,
        "bytes_down": down,
        "bytes_full": full,
        "saved": 1 - (up + down) / full,
        "seconds": float(sum(record["seconds"] for record in rounds)),
    }
