"""Strategies with several global models, one of which each client chooses."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat

from cllora.federated.strategy import Loss, Setting, Strategy, Turn, strategies
from cllora.federated.updates import Updates, Weighting, float32, mean
from cllora.types import Arrays, Model, Trained, Vector, Work


@strategies.register()
def ifca(
    setting: Setting,
    *,
    clusters: Annotated[int, Field(ge=1)] = 2,
    spread: NonNegativeFloat = 1e-3,
    weighting: Weighting = "samples",
) -> Strategy:
    """IFCA: several global adapters, of which a client trains the one with the lowest loss on its texts (Ghosh et al.
    2020, arXiv 2006.04088).

    Client k: j = argmin_j F_k(theta_j); sends theta_j after training, and j.
    Server: theta_j <- sum_{k in S_j} p_k theta_k, over the clients S_j that chose j; where there are none it stays.
    A client finally uses the one that it chooses then. LoRA starts with B = 0, under which all theta_j would be the
    base: so each B is drawn, with the standard deviation `spread`; without LoRA, every number.
    """
    b = setting.layout.part("B")
    b = b if b.any() else ~b

    def start(adapter: Vector) -> Arrays:
        thetas = {f"adapter/{j}": adapter.copy() for j in range(clusters)}
        for j, theta in enumerate(thetas.values() if clusters > 1 else ()):
            theta[b] += setting.rng("ifca", j).normal(0, spread, int(b.sum())).astype(np.float32)
        return thetas

    def send(state: Arrays, turn: Turn) -> Arrays:
        return state

    def choice(message: Arrays, loss: Loss) -> int:
        return min(range(clusters), key=lambda j: loss(message[f"adapter/{j}"])) if clusters > 1 else 0

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        j = choice(message, loss)
        return {f"shared/{j}": Work(message[f"adapter/{j}"])}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        ((piece, theta),) = trained.items()
        return {"adapter": theta.adapter, "cluster": np.array([int(piece.partition("/")[2])], np.int32)}, memory

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        thetas = dict(state)
        for j in range(clusters):
            if members := [update for update in updates if update.sent["cluster"][0] == j]:
                thetas[f"adapter/{j}"] = float32(mean(members, weighting))
        return thetas

    def models(state: Arrays) -> Mapping[str, Model]:
        return {f"global/{j}": Model(state[f"adapter/{j}"]) for j in range(clusters)}

    def personal(message: Arrays, memory: Arrays, loss: Loss) -> str:
        return f"global/{choice(message, loss)}"

    return Strategy(aggregate, start, send, plan, reply, models, personal, needs="each")
