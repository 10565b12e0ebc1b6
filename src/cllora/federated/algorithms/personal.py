"""Strategies whose clients keep a model, or a part of one, of their own."""

from collections.abc import Mapping

from pydantic import NonNegativeFloat, PositiveInt

from cllora.errors import UsageError
from cllora.federated.strategy import Loss, Setting, Strategy, Turn, strategies
from cllora.federated.updates import Updates, Weighting, float32
from cllora.types import Arrays, Model, Trained, Vector, Work


@strategies.register()
def alone(setting: Setting) -> Strategy:
    """No federation: every client goes on with its own adapter when it is chosen, and nothing crosses.

    The server's model stays the base. What clients come to is their local and personal models.
    """

    def send(state: Arrays, turn: Turn) -> Arrays:
        return {}

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        return {"shared": Work(start=memory.get("v", setting.initial))}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        return {}, {"v": trained["shared"].adapter}

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        return state

    def personal(message: Arrays, memory: Arrays, loss: Loss) -> Model:
        return Model(memory.get("v", setting.initial))

    return Strategy(aggregate, send=send, plan=plan, reply=reply, personal=personal)


@strategies.register()
def ditto(setting: Setting, *, lambda_: NonNegativeFloat = 1.0, weighting: Weighting = "samples") -> Strategy:
    """Ditto: FedAvg for all, and a personal adapter pulled towards it (Li et al. 2021, arXiv 2012.04221).

    Global: w <- sum_k p_k w_k. Personal: v_k <- v_k - eta (grad F_k(v_k) + lambda_ (v_k - w)), which never leaves
    the client. A client that was never chosen uses w.
    """

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        w = message["adapter"]
        return {"shared": Work(start=w), "personal": Work(start=memory.get("v", w), center=w, mu=lambda_)}

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        return {"adapter": trained["shared"].adapter}, {"v": trained["personal"].adapter}

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        return {"adapter": float32(updates.mean("adapter", weighting))}

    def personal(message: Arrays, memory: Arrays, loss: Loss) -> Model:
        return Model(memory.get("v", message["adapter"]))

    return Strategy(aggregate, plan=plan, reply=reply, personal=personal)


@strategies.register()
def fedrep(setting: Setting, *, head_epochs: PositiveInt = 1, weighting: Weighting = "samples") -> Strategy:
    """FedRep on LoRA: A is learned together, and every client keeps a B of its own (Collins et al. 2021, arXiv
    2102.07078).

    Client: first B_k over its texts `head_epochs` times, A fixed; then A as `local` says, B_k fixed. It sends A, and
    what is trained beside LoRA. Server: A <- sum_k p_k A_k. The server's own model has the B that training starts at.
    """
    head = setting.layout.part("B")
    if not head.any():
        raise UsageError("fedrep shares LoRA's A and keeps its B, and lora.train: full has neither; choose lora")

    def with_head(shared: Vector, memory: Arrays) -> Vector:
        w = setting.initial.copy()
        w[~head], w[head] = shared, memory.get("B", w[head])
        return w

    def start(adapter: Vector) -> Arrays:
        return {"A": adapter[~head]}

    def send(state: Arrays, turn: Turn) -> Arrays:
        return {"A": state["A"]}

    def plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
        epochs = {"epochs": head_epochs, "steps": None}
        return {
            "head": Work(with_head(message["A"], memory), trainable=head, local=epochs),
            "shared": Work("head", trainable=~head),
        }

    def reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
        w = trained["shared"].adapter
        return {"A": w[~head]}, {"B": w[head]}

    def aggregate(state: Arrays, updates: Updates) -> Arrays:
        return {"A": float32(updates.mean("A", weighting))}

    def models(state: Arrays) -> Mapping[str, Model]:
        return {"global": Model(with_head(state["A"], {}))}

    def personal(message: Arrays, memory: Arrays, loss: Loss) -> Model:
        return Model(with_head(message["A"], memory))

    return Strategy(aggregate, start, send, plan, reply, models, personal)
