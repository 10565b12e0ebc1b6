"""The contract of a strategy: a few pure functions over explicit state.

    server   start   the first state, from the first adapter
             send    what a chosen client is sent                                  (crosses the network)
    client   work    what to train, from what was sent and the client's own memory
             reply   what goes back (crosses the network) and the memory to keep
    server   join    the next state, from the updates
    client   own     the adapter a client finally uses, if it is not the global one

A strategy is registered as a function of the number of clients in the federation and of its options, which
returns these. What is left out behaves as in FedAvg.

    >>> @strategies.register()
    ... def fedmedian(num_clients: int) -> Strategy:
    ...     \"\"\"The coordinate-wise median of the clients' adapters (Yin et al. 2018).\"\"\"
    ...     return Strategy(join=lambda state, updates: {
    ...         "adapter": np.median([u.sent["adapter"] for u in updates], axis=0).astype(np.float32)})
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cllora.registry import Registry
from cllora.types import Arrays, Trained, Update, Vector, Work


def _start(adapter: Vector) -> Arrays:
    return {"adapter": adapter}


def _send(state: Arrays) -> Arrays:
    return {"adapter": state["adapter"]}


def _work(sent: Arrays, memory: Arrays) -> Mapping[str, Work]:
    return {"shared": Work(start=sent["adapter"])}


def _reply(sent: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
    return {"adapter": trained["shared"].adapter}, memory


def _own(adapter: Vector, memory: Arrays) -> Vector | None:
    return None


@dataclass(frozen=True)
class Strategy:
    """Six pure functions. `join` gets the updates sorted by client, so that their order cannot matter.

    `work` names its pieces; `shared` must be among them: its adapter is what is evaluated as the client's local
    model and whose samples, tokens, steps and loss are recorded.
    """

    join: Callable[[Arrays, Sequence[Update]], Arrays]
    start: Callable[[Vector], Arrays] = _start
    send: Callable[[Arrays], Arrays] = _send
    work: Callable[[Arrays, Arrays], Mapping[str, Work]] = _work
    reply: Callable[[Arrays, Arrays, Mapping[str, Trained]], tuple[Arrays, Arrays]] = _reply
    own: Callable[[Vector, Arrays], Vector | None] = _own


strategies: Registry[Callable[..., Strategy]] = Registry("strategy")
