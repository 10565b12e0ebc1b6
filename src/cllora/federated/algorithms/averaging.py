"""Strategies with one global adapter, each in its paper's symbols. Sums are in float64, adapters stay float32."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat

from cllora.federated.strategy import Loss, Setting, Strategy, Turn, strategies
from cllora.federated.updates import Updates, Weighting, float32
from cllora.types import Arrays, Trained, Vector, Work

Decay = Annotated[float, Field(ge=0, lt=1)]


@strategies.register()
def fedavg(setting: Setting, *, weighting: Weighting = "samples") -> Strategy:
    """FedAvg: w <- sum_k (n_k / n) w_k over the chosen clients (McMahan et al. 2017, arXiv 1602.05629)."""

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        return {"adapter": float32(updates.mean("adapter", weighting))}

    return Strategy(aggregate)


@strategies.register()
def fedadam(
    setting: Setting,
    *,
    server_lr: PositiveFloat = 1e-2,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.99,
    tau: PositiveFloat = 1e-3,
    weighting: Weighting = "samples",
) -> Strategy:
    """FedAdam: the mean of the clients' changes is the server's pseudo-gradient (Reddi et al. 2021, arXiv 2003.00295).

    Delta = sum_k p_k (w_k - w);  m <- beta_1 m + (1 - beta_1) Delta;  v <- beta_2 v + (1 - beta_2) Delta^2;
    w <- w + server_lr m / (sqrt(v) + tau). As in Algorithm 2: v starts at tau^2, without bias correction.
    """

    def start(adapter: Vector) -> Arrays:
        return {"adapter": adapter, "m": np.zeros_like(adapter), "v": np.full_like(adapter, tau**2)}

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        w, m, v = (state[key].astype(np.float64) for key in ("adapter", "m", "v"))
        delta = updates.mean("adapter", weighting) - w
        m = beta_1 * m + (1 - beta_1) * delta
        v = beta_2 * v + (1 - beta_2) * delta**2
        w = w + server_lr * m / (np.sqrt(v) + tau)
        return {"adapter": float32(w), "m": float32(m), "v": float32(v)}

    return Strategy(aggregate, start=start)


@strategies.register()
def scaffold(setting: Setting, *, server_lr: PositiveFloat = 1.0) -> Strategy:
    """SCAFFOLD: control variates correct for the drift of clients (Karimireddy et al. 2020, arXiv 1910.06378).

    Client: y <- y - eta (g - c_k + c);  c_k+ = the mean of g along the way;  sends y and c_k+ - c_k.
    Server: x <- x + server_lr mean(y - x);  c <- c + (|S| / num_clients) mean(c_k+ - c_k).

    With SGD that c_k+ is the paper's option II exactly: (x - y) / (K eta) is the mean of g - c_k + c. Written as a
    mean of gradients it keeps its meaning under AdamW and under a schedule. Traffic doubles, both ways.
    """

    def start(adapter: Vector) -> Arrays:
        return {"adapter": adapter, "c": np.zeros_like(adapter)}

    def send(state: Arrays, turn: Turn) -> Arrays:
        return {"adapter": state["adapter"], "c": state["c"]}

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        correction = message["c"] - memory["c_k"] if "c_k" in memory else message["c"]
        return {"shared": Work(start=message["adapter"], correction=correction, gradient=True)}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        c_new = trained["shared"].gradient
        assert c_new is not None
        change = c_new - memory["c_k"] if "c_k" in memory else c_new
        return {"adapter": trained["shared"].adapter, "c": change}, {"c_k": c_new}

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        x, c = state["adapter"].astype(np.float64), state["c"].astype(np.float64)
        x = x + server_lr * (updates.mean("adapter", "uniform") - x)
        c = c + len(updates) / setting.num_clients * updates.mean("c", "uniform")
        return {"adapter": float32(x), "c": float32(c)}

    return Strategy(aggregate, start, send, plan, reply)
