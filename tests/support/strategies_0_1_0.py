"""The strategies of 0.1.0 as they stood there, under other names: a user's file as it was written for it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat

from cllora.federated.strategy import Strategy, strategies
from cllora.types import Arrays, Trained, Update, Vector, Work

Weigh = Literal["samples", "tokens", "uniform"]
Decay = Annotated[float, Field(ge=0, lt=1)]


def mean(updates: Sequence[Update], weigh: Weigh, key: str = "adapter") -> NDArray[np.float64]:
    """sum_k p_k w_k over what the clients sent as `key`, p_k their share of samples, of tokens, or equal."""
    n = np.array([{"samples": u.samples, "tokens": u.tokens, "uniform": 1}[weigh] for u in updates], np.float64)
    p = n / n.sum()
    total = np.zeros(updates[0].sent[key].shape)
    for p_k, update in zip(p, updates, strict=True):
        total += p_k * update.sent[key].astype(np.float64)
    return total


def float32(vector: NDArray[np.float64]) -> Vector:
    """Rounded to float32; what is too large becomes infinite, which the round refuses by name."""
    with np.errstate(over="ignore"):
        return vector.astype(np.float32)


@strategies.register("fedavg_0_1_0")
def fedavg(num_clients: int, *, weigh: Weigh = "samples") -> Strategy:
    """FedAvg: w <- sum_k (n_k / n) w_k over the chosen clients (McMahan et al. 2017, arXiv 1602.05629)."""

    def join(state: Arrays, updates: Sequence[Update]) -> Arrays:
        return {"adapter": float32(mean(updates, weigh))}

    return Strategy(join)


@strategies.register("fedadam_0_1_0")
def fedadam(
    num_clients: int,
    *,
    server_lr: PositiveFloat = 1e-2,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.99,
    tau: PositiveFloat = 1e-3,
    weigh: Weigh = "samples",
) -> Strategy:
    """FedAdam: the mean of the clients' changes is the server's pseudo-gradient (Reddi et al. 2021, arXiv 2003.00295).

    Delta = sum_k p_k (w_k - w);  m <- beta_1 m + (1 - beta_1) Delta;  v <- beta_2 v + (1 - beta_2) Delta^2;
    w <- w + server_lr m / (sqrt(v) + tau). As in Algorithm 2: v starts at tau^2, without bias correction.
    """

    def start(adapter: Vector) -> Arrays:
        return {"adapter": adapter, "m": np.zeros_like(adapter), "v": np.full_like(adapter, tau**2)}

    def join(state: Arrays, updates: Sequence[Update]) -> Arrays:
        w, m, v = (state[key].astype(np.float64) for key in ("adapter", "m", "v"))
        delta = mean(updates, weigh) - w
        m = beta_1 * m + (1 - beta_1) * delta
        v = beta_2 * v + (1 - beta_2) * delta**2
        w = w + server_lr * m / (np.sqrt(v) + tau)
        return {"adapter": float32(w), "m": float32(m), "v": float32(v)}

    return Strategy(join, start=start)


@strategies.register("scaffold_0_1_0")
def scaffold(num_clients: int, *, server_lr: PositiveFloat = 1.0) -> Strategy:
    """SCAFFOLD: control variates correct for the drift of clients (Karimireddy et al. 2020, arXiv 1910.06378).

    Client: y <- y - eta (g - c_k + c);  c_k+ = the mean of g along the way;  sends y and c_k+ - c_k.
    Server: x <- x + server_lr mean(y - x);  c <- c + (|S| / num_clients) mean(c_k+ - c_k).

    With SGD that c_k+ is the paper's option II exactly: (x - y) / (K eta) is the mean of g - c_k + c. Written as a
    mean of gradients it keeps its meaning under AdamW and under a schedule. Traffic doubles, both ways.
    """

    def start(adapter: Vector) -> Arrays:
        return {"adapter": adapter, "c": np.zeros_like(adapter)}

    def send(state: Arrays) -> Arrays:
        return {"adapter": state["adapter"], "c": state["c"]}

    def work(sent: Arrays, memory: Arrays) -> Mapping[str, Work]:
        correction = sent["c"] - memory["c_k"] if "c_k" in memory else sent["c"]
        return {"shared": Work(start=sent["adapter"], correction=correction, gradient=True)}

    def reply(sent: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        c_new = trained["shared"].gradient
        assert c_new is not None
        change = c_new - memory["c_k"] if "c_k" in memory else c_new
        return {"adapter": trained["shared"].adapter, "c": change}, {"c_k": c_new}

    def join(state: Arrays, updates: Sequence[Update]) -> Arrays:
        x, c = state["adapter"].astype(np.float64), state["c"].astype(np.float64)
        x = x + server_lr * (mean(updates, "uniform") - x)
        c = c + len(updates) / num_clients * mean(updates, "uniform", key="c")
        return {"adapter": float32(x), "c": float32(c)}

    return Strategy(join, start, send, work, reply)


@strategies.register("ditto_0_1_0")
def ditto(num_clients: int, *, lambda_: NonNegativeFloat = 1.0, weigh: Weigh = "samples") -> Strategy:
    """Ditto: FedAvg for all, and a personal adapter pulled towards it (Li et al. 2021, arXiv 2012.04221).

    Global: w <- sum_k p_k w_k. Personal: v_k <- v_k - eta (grad F_k(v_k) + lambda_ (v_k - w)), which never leaves
    the client. A client that was never chosen uses w.
    """

    def work(sent: Arrays, memory: Arrays) -> Mapping[str, Work]:
        w = sent["adapter"]
        return {"shared": Work(start=w), "personal": Work(start=memory.get("v", w), center=w, mu=lambda_)}

    def reply(sent: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        return {"adapter": trained["shared"].adapter}, {"v": trained["personal"].adapter}

    def own(adapter: Vector, memory: Arrays) -> Vector | None:
        return memory.get("v", adapter)

    def join(state: Arrays, updates: Sequence[Update]) -> Arrays:
        return {"adapter": float32(mean(updates, weigh))}

    return Strategy(join, work=work, reply=reply, own=own)
