"""Strategies that add up the clients' products B A, and not their factors: the mean of products is another matrix."""

from collections.abc import Mapping

import numpy as np

from cllora.federated.low_rank import RankedAdapters, Ranks, best_factors, freeze, stacked, with_factors, within
from cllora.federated.strategy import Loss, Setting, Strategy, Turn, strategies
from cllora.federated.updates import Updates, Weighting, float32, shares
from cllora.types import Array, Arrays, Mask, Model, Trained, Vector, Work


@strategies.register()
def flexlora(setting: Setting, *, ranks: Ranks = None, weighting: Weighting = "samples") -> Strategy:
    """FlexLoRA: the mean of the clients' products, and of it to each client what its rank holds (Bai et al. 2024,
    arXiv 2402.11505).

    Server: W = sum_k p_k s B_k A_k = U Sigma V^T;  B <- U_r Sigma_r / s,  A <- V_r^T, r being `lora.r`, the largest.
    Client k has the first r_k ranks, the best of its rank, and sends them back. `ranks` are by client; all scale by the
    same s. What is trained beside LoRA is averaged.
    """
    layout, parts = setting.layout, RankedAdapters(setting, ranks)

    def send(state: Arrays, turn: Turn) -> Arrays:
        return {"adapter": state["adapter"][parts.mask(parts.rank_of(turn.client))]}

    def mask_in(message: Arrays) -> Mask:
        return parts.mask(parts.rank_in(message["adapter"]))

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        return {"shared": Work(parts.whole(message["adapter"]), trainable=mask_in(message))}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        return {"adapter": trained["shared"].adapter[mask_in(message)]}, memory

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        (adapters, ranks), p = parts.received(updates), shares(updates, weighting)
        best = {}
        for matrix in layout.matrices:
            a, b = best_factors(stacked(matrix, adapters, ranks, p), matrix.rank)
            best[matrix.name] = a, b / matrix.scale
        beside = np.where(layout.part("rest"), _mean(adapters, p), setting.initial)
        return {"adapter": with_factors(layout, beside, best)}

    return Strategy(aggregate, send=send, plan=plan, reply=reply, needs="each")


@strategies.register()
def flora(setting: Setting, *, ranks: Ranks = None, weighting: Weighting = "samples") -> Strategy:
    """FLoRA: the clients' products are stacked and frozen into the base, and each round trains fresh adapters (Wang et
    al. 2024, arXiv 2409.05976).

    W_0 <- W_0 + s sum_k p_k B_k A_k, exactly: A = [p_1 A_1; ...], B = [B_1, ...], whatever the clients' `ranks`. Then A
    is drawn anew, the same for all clients, and B is zero. A client is sent all that was frozen so far. What is trained
    beside LoRA is averaged.
    """
    layout, parts = setting.layout, RankedAdapters(setting, ranks)
    rest = layout.part("rest")

    def fresh(number: int, beside: Vector) -> Vector:
        adapter = setting.initial.copy()
        adapter[layout.part("B")], adapter[rest] = 0, beside
        for matrix in layout.matrices:
            draw = setting.rng("flora", number, matrix.name)
            bound = 1 / np.sqrt(matrix.columns)
            matrix.factors(adapter)[0][:] = draw.uniform(-bound, bound, (matrix.rank, matrix.columns))
        return adapter

    def frozen_with(frozen: Arrays, adapters: list[Vector], ranks: list[int], p: Array) -> Arrays:
        added = [freeze(frozen, matrix, stacked(matrix, adapters, ranks, p)) for matrix in layout.matrices]
        return {f"frozen/{name}": array for arrays in added for name, array in arrays.items()}

    def start(adapter: Vector) -> Arrays:
        ranks = [max((matrix.rank for matrix in layout.matrices), default=0)]
        return {"rest": adapter[rest], **frozen_with({}, [adapter], ranks, np.ones(1))}

    def send(state: Arrays, turn: Turn) -> Arrays:
        return {**state, "turn": np.array([turn.round, parts.rank_of(turn.client)], np.int32)}

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        number, rank = map(int, message["turn"])
        mask = parts.mask(rank)
        adapter = np.where(mask, fresh(number, message["rest"]), np.float32(0))
        return {"shared": Work(Model(adapter, within("frozen", message)), trainable=mask)}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        return {"adapter": trained["shared"].adapter[parts.mask(int(message["turn"][1]))]}, memory

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        (adapters, ranks), p = parts.received(updates), shares(updates, weighting)
        return {"rest": _mean(adapters, p)[rest], **frozen_with(within("frozen", state), adapters, ranks, p)}

    def models(state: Arrays) -> Mapping[str, Model]:
        return {"global": Model(fresh(0, state["rest"]), within("frozen", state))}

    return Strategy(aggregate, start, send, plan, reply, models, needs="each")


def _mean(adapters: list[Vector], p: Array) -> Vector:
    return float32(np.tensordot(p, np.array(adapters, np.float64), 1))
