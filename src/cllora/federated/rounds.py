"""The round, as a generator: whoever iterates it logs, saves, draws progress, or stops."""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cllora.errors import UsageError
from cllora.federated.strategy import Strategy
from cllora.metrics.losses import mean_losses
from cllora.model.engine import Engine
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.store import message_bytes
from cllora.types import Arrays, Job, Losses, Participant, Partition, Round, Task, Trained, Update, Vector


@dataclass(frozen=True)
class Federation:
    """What stays the same from round to round."""

    experiment: Experiment
    partition: Partition
    strategy: Strategy
    learner: Engine


@dataclass(frozen=True)
class _Turn:
    """One client's part in a round, the memory it keeps, and the record of it."""

    part: Participant
    memory: Arrays
    record: dict[str, Any]


def rounds(federation: Federation, after: Round | None = None) -> Iterator[Round]:
    """Every round in turn, from round 0 (the untrained adapter, evaluated) or from the one after `after`.

    Raises:
        UsageError: an update is not finite; the line names the round and the client.
    """
    if after is None:
        began = time.perf_counter()
        start = federation.strategy.start(federation.learner.initial(federation.experiment.seed))
        after = _measured(federation, Round(0, start, {}, (), {}), [], began)
        yield after
    for number in range(after.number + 1, federation.experiment.federation.num_rounds + 1):
        # What the round before measured is the caller's; its state alone goes on.
        after = dataclasses.replace(after, losses=(), participants=())
        after = _round(federation, number, after)
        yield after


def chosen_clients(experiment: Experiment, number: int) -> list[int]:
    """The clients of a round: drawn without replacement, all equally likely, sorted."""
    draw = rng(experiment.seed, "clients", number)
    chosen = draw.choice(experiment.partition.num_clients, experiment.federation.clients_per_round, replace=False)
    return sorted(int(client) for client in chosen)


def local_adapter(federation: Federation, after: Round, client: int) -> Vector:
    """A client's own adapter after local training in the round that would follow, were it chosen. Nothing is kept.

    Raises:
        UsageError: it is not finite.
    """
    task = Task(after.number + 1, client, federation.strategy.send(after.state))
    return _turns(federation, [task], after.memories)[0].part.local


def _round(federation: Federation, number: int, before: Round) -> Round:
    began = time.perf_counter()
    sent = federation.strategy.send
    tasks = [Task(number, client, sent(before.state)) for client in chosen_clients(federation.experiment, number)]
    turns = _turns(federation, tasks, before.memories)
    state = federation.strategy.join(before.state, [turn.part.update for turn in turns])
    _check_finite(f"round {number}: the joined", state, "lower the strategy's rate or local.learning_rate")
    memories = {**before.memories, **{turn.part.update.client: turn.memory for turn in turns}}
    return _measured(federation, Round(number, state, memories, (), {}), turns, began)


def _turns(federation: Federation, tasks: Sequence[Task], memories: Mapping[int, Arrays]) -> list[_Turn]:
    """The chosen clients' local work, from what each was sent to what it sends back.

    All of it goes to the learner at once, which may do some of it side by side.
    """
    experiment, learner, partition = federation.experiment, federation.learner, federation.partition
    jobs = {
        (task.client, piece): Job(
            work,
            partition.train(task.client),
            ("train", task.round, task.client, piece),
            partition.context(task.client),
        )
        for task in tasks
        for piece, work in federation.strategy.work(task.sent, memories.get(task.client, {})).items()
    }
    trained: dict[int, dict[str, Trained]] = {task.client: {} for task in tasks}
    found = learner.train(list(jobs.values()), experiment.local, experiment.seed)
    for (client, piece), it in zip(jobs, found, strict=True):
        trained[client][piece] = it
    return [_turn(federation, task, memories.get(task.client, {}), trained[task.client]) for task in tasks]


def _turn(federation: Federation, task: Task, memory: Arrays, trained: Mapping[str, Trained]) -> _Turn:
    """A client's reply to its task, given what its pieces of work came to."""
    whose = f"round {task.round}, client {task.client}"
    if not all(math.isfinite(it.loss) and np.isfinite(it.adapter).all() for it in trained.values()):
        raise UsageError(f"{whose}: the local loss or adapter is not a number any more; lower local.learning_rate")
    sent, memory = federation.strategy.reply(task.sent, memory, trained)
    _check_finite(f"{whose}: its update", sent, "lower local.learning_rate")
    shared = trained["shared"]
    update = Update(task.round, task.client, sent, shared.samples, shared.tokens, shared.steps, shared.loss)
    record = {
        "client": task.client,
        "samples": shared.samples,
        "tokens": shared.tokens,
        "steps": shared.steps,
        "train_loss": shared.loss,
        "bytes_up": message_bytes(sent, federation.learner.layout),
        "bytes_down": message_bytes(task.sent, federation.learner.layout),
        "seconds": round(sum(it.seconds for it in trained.values()), 4),
    }
    part = Participant(task.sent["adapter"], shared.adapter, update, _most([it.peak_bytes for it in trained.values()]))
    return _Turn(part, memory, record)


def _most(peaks: Sequence[int | None]) -> int | None:
    """The largest; None if one is not there."""
    there = [peak for peak in peaks if peak is not None]
    return max(there) if len(there) == len(peaks) else None


def _check_finite(whose: str, arrays: Arrays, mend: str) -> None:
    for key, vector in arrays.items():
        if not np.isfinite(vector).all():
            raise UsageError(f"{whose} '{key}' is not finite; {mend}")


def _measured(federation: Federation, after: Round, turns: list[_Turn], began: float) -> Round:
    """The round with its losses and its record. Rounds that are not evaluated record no loss."""
    experiment = federation.experiment
    losses: tuple[Losses, ...] = ()
    record: dict[str, Any] = {"round": after.number}
    clients = [dict(turn.record) for turn in turns]
    last = after.number == experiment.federation.num_rounds
    if last or after.number % experiment.evaluation.every == 0:
        losses = _evaluate(federation, after, {turn.part.update.client: turn.part.local for turn in turns}, last)
        for block in losses:
            _check_finite(
                f"round {after.number}, model {block.model}:",
                {"losses": block.nll.astype(np.float32)},
                "lower the rates",
            )
        record |= global_losses(losses[0], federation.partition)
        for client in clients:
            client["local_loss"] = _local_loss(losses, client["client"], federation.partition)
    record |= {
        "clients": clients,
        "bytes_up": sum(client["bytes_up"] for client in clients),
        "bytes_down": sum(client["bytes_down"] for client in clients),
        "seconds": round(time.perf_counter() - began, 4),
    }
    return dataclasses.replace(after, losses=losses, record=record, participants=tuple(turn.part for turn in turns))


def _evaluate(federation: Federation, after: Round, local: Mapping[int, Vector], last: bool) -> tuple[Losses, ...]:
    """The global adapter on every test sample there is, each once; the chosen clients' own adapters on the global
    test and on their own; after the last round also every personal adapter on its owner's test."""
    partition, evaluate = federation.partition, federation.learner.evaluate
    adapter = after.state["adapter"]
    everyone = np.unique(np.concatenate([partition.global_test, partition.test_ids]))
    found = [evaluate("global", adapter, everyone)]
    for client, vector in local.items() if federation.experiment.evaluation.local_models else ():
        ids = np.unique(np.concatenate([partition.global_test, partition.test(client)]))
        found.append(evaluate(f"local/{client}", vector, ids))
    if last:
        for client in range(partition.num_clients):
            own = federation.strategy.own(adapter, after.memories.get(client, {}))
            if own is not None:
                found.append(evaluate(f"personal/{client}", own, partition.test(client)))
    return tuple(found)


def global_losses(losses: Losses, partition: Partition) -> dict[str, float]:
    """On the global test set: nats per token over all tokens, and the mean over samples of their own means."""
    per_token, per_sample = mean_losses(losses, partition.global_test)
    return {"global_loss": per_token, "global_loss_per_sample": per_sample}


def _local_loss(losses: tuple[Losses, ...], client: int, partition: Partition) -> float | None:
    """Nats per token of a client's own adapter, after its local training, on its own test set; None without one, or
    where local models are not evaluated."""
    block = next((block for block in losses if block.model == f"local/{client}"), None)
    loss = math.nan if block is None else mean_losses(block, partition.test(client))[0]
    return None if math.isnan(loss) else loss
