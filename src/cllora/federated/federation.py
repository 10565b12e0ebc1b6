"""The federation, which is the same in all rounds, and the models that a server stands for."""

from collections.abc import Mapping
from dataclasses import dataclass

from cllora.errors import UsageError
from cllora.federated.strategy import Strategy, Turn
from cllora.model.engine import Engine
from cllora.spec import Experiment
from cllora.types import Arrays, Model, Partition, Round

GLOBAL = "global"
"""The server's model in the loss table; where it has several, their mean."""


@dataclass(frozen=True)
class Federation:
    """The parts of a federation that are the same in all rounds."""

    experiment: Experiment
    partition: Partition
    strategy: Strategy
    learner: Engine


def global_models(strategy: Strategy, state: Arrays) -> Mapping[str, Model]:
    """The models that the server stands for, by their names: `global`, or `global/0` and so on.

    Raises:
        UsageError: there is none, or one has another name.
    """
    models = strategy.models(state)
    if not models or not all(name == GLOBAL or name.startswith(f"{GLOBAL}/") for name in models):
        raise UsageError(
            f"the strategy's models are {', '.join(models) or '(none)'}; call them {GLOBAL}, or {GLOBAL}/0 and so on"
        )
    return models


def next_message(federation: Federation, after: Round, client: int) -> Arrays:
    """The message that a client would be sent in the round that follows, were it alone chosen."""
    return federation.strategy.send(after.state, Turn(after.number + 1, client, (client,)))
