"""The round, as a generator: whoever iterates it logs, saves, draws progress, or stops."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

from cllora.federated.client import Client, ClientTurn, check_finite, client_turns
from cllora.federated.evaluation import evaluated, with_losses
from cllora.federated.federation import Federation, next_message
from cllora.federated.strategy import Turn
from cllora.federated.updates import Updates
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.types import Arrays, Losses, Model, Round, RoundRecord, Task


def rounds(federation: Federation, after: Round | None = None) -> Iterator[Round]:
    """Every round in turn, from round 0 (the untrained adapter, evaluated) or from the one after `after`.

    Raises:
        UsageError: an update is not finite; the line names the round and the client.
    """
    if after is None:
        began = time.perf_counter()
        start = federation.strategy.start(federation.learner.initial(federation.experiment.chance))
        after = _measured(federation, Round(0, start, {}, (), RoundRecord(0)), [], began)
        yield after
    for number in range(after.number + 1, federation.experiment.federation.num_rounds + 1):
        # The measurements of the round before are the caller's; its state alone goes on.
        after = dataclasses.replace(after, losses=(), participants=())
        after = _round(federation, number, after)
        yield after


def chosen_clients(experiment: Experiment, number: int) -> list[int]:
    """The clients of a round: drawn without replacement, all equally likely, sorted."""
    draw = rng(experiment.chance, "clients", number)
    chosen = draw.choice(experiment.partition.num_clients, experiment.federation.clients_per_round, replace=False)
    return sorted(int(client) for client in chosen)


def local_model(federation: Federation, after: Round, client: int) -> Model:
    """A client's own model after local training in the round that would follow, were it chosen. Nothing is kept.

    Raises:
        UsageError: it is not finite.
    """
    task = Task(after.number + 1, client, next_message(federation, after, client))
    return _turns(federation, [task], after.memories)[0].part.local


def _round(federation: Federation, number: int, before: Round) -> Round:
    began = time.perf_counter()
    chosen, strategy = chosen_clients(federation.experiment, number), federation.strategy
    messages = [strategy.send(before.state, Turn(number, client, tuple(chosen))) for client in chosen]
    tasks = [Task(number, client, message) for client, message in zip(chosen, messages, strict=True)]
    turns = _turns(federation, tasks, before.memories)
    state = strategy.aggregate(before.state, Updates([turn.part.update for turn in turns], strategy.needs))
    check_finite(f"round {number}: the aggregated", state, "lower the strategy's rate or local.learning_rate")
    memories = {**before.memories, **{turn.part.update.client: turn.memory for turn in turns}}
    record = RoundRecord(number, tuple(turn.record for turn in turns))
    return _measured(federation, Round(number, state, memories, (), record), turns, began)


def _turns(federation: Federation, tasks: Sequence[Task], memories: Mapping[int, Arrays]) -> list[ClientTurn]:
    """The chosen clients' turns, all of them in this process."""
    partition, experiment = federation.partition, federation.experiment
    clients = [
        Client(task, partition.train(task.client), memories.get(task.client, {}), partition.context(task.client))
        for task in tasks
    ]
    return client_turns(federation.strategy, federation.learner, experiment.local, experiment.chance, clients)


def is_evaluated(number: int, experiment: Experiment) -> bool:
    """Whether the models are evaluated after a round: before the first, after the last, and by the schedule between."""
    asked, rounds = experiment.evaluation, experiment.federation.num_rounds
    return number in (0, rounds) or (number > asked.after * rounds and number % asked.every == 0)


def _measured(federation: Federation, after: Round, turns: Sequence[ClientTurn], began: float) -> Round:
    """The round with its losses, and with their means in its record."""
    experiment, record = federation.experiment, after.record
    parts = tuple(turn.part for turn in turns)
    losses: tuple[Losses, ...] = ()
    if is_evaluated(after.number, experiment):
        losses = evaluated(federation, after, parts, after.number == experiment.federation.num_rounds)
        record = with_losses(record, losses, federation.partition)
    record = dataclasses.replace(record, seconds=round(time.perf_counter() - began, 4))
    return dataclasses.replace(after, losses=losses, record=record, participants=parts)
