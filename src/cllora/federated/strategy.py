"""The contract of a strategy: a few pure functions over explicit state. In the order of a round::

    server   start      the first state, from the first adapter
             send       the message to a chosen client, from the state and the turn      (crosses the network)
    client   plan       what to train, from the message, the client's own memory and its loss
             reply      what goes back (crosses the network) and the memory to keep
    server   aggregate  the next state, from the updates
             models     the models that the server stands for, from its state
    client   personal   the model a client finally uses, if it is not the server's

A strategy is registered as a function of a `Setting`, which is all that it may know beforehand, and of its options. It
returns these functions; what is left out behaves as in FedAvg::

    >>> @strategies.register()
    ... def fedmedian(setting: Setting) -> Strategy:
    ...     \"\"\"The coordinate-wise median of the clients' adapters (Yin et al. 2018).\"\"\"
    ...     return Strategy(needs="each", aggregate=lambda state, updates: {
    ...         "adapter": np.median([u.sent["adapter"] for u in updates], axis=0).astype(np.float32)})
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cllora.federated.old_names import made, options_as_now, takes_old_names
from cllora.federated.updates import Needs, Updates
from cllora.registry import Registry
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.types import Arrays, Layout, Model, Trained, Vector, Work

Loss = Callable[[Model | Vector], float]
"""A client's mean loss on its own training texts under a model, in nats per token. What it costs is recorded."""


@dataclass(frozen=True)
class Setting:
    """The setting that a strategy may know beforehand, at the server and at every client.

    `layout` says where in an adapter A and B of each matrix lie, their ranks and LoRA's scale; `initial` is the adapter
    that training starts at (P,), with which the model is the base.
    """

    num_clients: int
    num_rounds: int
    clients_per_round: int
    layout: Layout
    initial: Vector
    seed: int

    def rng(self, *names: str | int) -> np.random.Generator:
        """A generator for one named purpose, such as `setting.rng("noise", turn.round, turn.client)`.

        Nothing else draws from it, and it gives the same draws in a run that was interrupted.
        """
        return rng(self.seed, "strategy", *names)


@dataclass(frozen=True)
class Turn:
    """The client that a message is for, and its round: `chosen` are all clients of the round, this one among them,
    sorted."""

    round: int
    client: int
    chosen: tuple[int, ...]


def _start(adapter: Vector) -> Arrays:
    return {"adapter": adapter}


def _send(state: Arrays, turn: Turn) -> Arrays:
    return {"adapter": state["adapter"]}


def _plan(message: Arrays, memory: Arrays, loss: Loss) -> Mapping[str, Work]:
    return {"shared": Work(start=message["adapter"])}


def _reply(message: Arrays, memory: Arrays, trained: Mapping[str, Trained]) -> tuple[Arrays, Arrays]:
    return {"adapter": trained["shared"].adapter}, memory


def _models(state: Arrays) -> Mapping[str, Model]:
    return {"global": Model(state["adapter"])}


def _personal(message: Arrays, memory: Arrays, loss: Loss) -> Model | str | None:
    return None


@takes_old_names
@dataclass(frozen=True)
class Strategy:
    """The functions of a strategy. Arrays may be of any shape and dtype; what is sent is counted as it is.

    `aggregate` gets the updates sorted by client, so that their order cannot matter. `needs` says whether it asks for
    sums over the clients alone (`updates.mean(...)`), which is all that secure aggregation gives, or for each update.

    `plan` names its pieces of training, in an order in which a piece that goes on from another comes after it. One is
    called `shared`, or `shared/` and a remark: the model that it ends at is evaluated as the client's local model, and
    its samples, tokens, steps and loss are recorded. What stands behind a slash has no part in a piece's draws.

    `models` are `global`, or `global/0` and so on. `personal` gives a model, the name of one of those, or None for the
    global one.
    """

    aggregate: Callable[[Arrays, Updates], Arrays]
    start: Callable[[Vector], Arrays] = _start
    send: Callable[[Arrays, Turn], Arrays] = _send
    plan: Callable[[Arrays, Arrays, Loss], Mapping[str, Work]] = _plan
    reply: Callable[[Arrays, Arrays, Mapping[str, Trained]], tuple[Arrays, Arrays]] = _reply
    models: Callable[[Arrays], Mapping[str, Model]] = _models
    personal: Callable[[Arrays, Arrays, Loss], Model | str | None] = _personal
    needs: Needs = "sums"


class StrategyRegistry(Registry[Callable[..., Strategy]]):
    """The strategies; options of 0.1.0 are taken under their old names, too."""

    def bind(self, name: str, options: Mapping[str, object]) -> functools.partial[Strategy]:
        return super().bind(name, options_as_now(name, options, self.options(name)))


strategies = StrategyRegistry("strategy")


class HasAdapters(Protocol):
    """The interface of a trainer for a strategy."""

    @property
    def layout(self) -> Layout: ...

    def initial(self, seed: int) -> Vector: ...


def strategy_of(experiment: Experiment, trainer: HasAdapters) -> Strategy:
    """The experiment's strategy with its options, in its setting."""
    choice, federation = experiment.federation.strategy, experiment.federation
    setting = Setting(
        num_clients=experiment.partition.num_clients,
        num_rounds=federation.num_rounds,
        clients_per_round=federation.clients_per_round,
        layout=trainer.layout,
        initial=trainer.initial(experiment.chance),
        seed=experiment.chance,
    )
    return made(strategies.bind(choice.name, choice.options), setting)
