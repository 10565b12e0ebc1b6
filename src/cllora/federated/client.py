"""A client's turn, wherever it runs: from the message and its memory to its reply, its memory and its record.

Nothing of the server is needed but the message; of the engine, that it trains and evaluates.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from pydantic import ValidationError

from cllora.errors import UsageError
from cllora.federated.strategy import Strategy
from cllora.model.engine import Evaluator, Trainer
from cllora.registry import first_problem
from cllora.spec import LocalSpec
from cllora.store import message_bytes
from cllora.types import (
    Arrays,
    ClientRecord,
    Ids,
    Job,
    Layout,
    Model,
    Participant,
    Task,
    Trained,
    Update,
    Vector,
    Work,
    model_of,
)

LOWER = "lower local.learning_rate"
"""The remedy for numbers that are not finite."""


class ClientEngine(Trainer, Evaluator, Protocol):
    """The interface of an engine for a client's turn: it trains and evaluates."""


@dataclass(frozen=True)
class Client:
    """A client before its turn: its task, and its texts and its memory, which never leave it.

    `context` is how many tokens of a text it sees, None for as many as the model.
    """

    task: Task
    ids: Ids
    memory: Arrays
    context: int | None = None


@dataclass(frozen=True)
class ClientTurn:
    """The result of a client's turn: its part in the round, the memory that it keeps, and the record."""

    part: Participant
    memory: Arrays
    record: ClientRecord


class Look:
    """A client's loss on its own training texts under any model, in nats per token; and what it cost to look.

    It is that of evaluation, on as much of a text as the client sees.
    """

    def __init__(self, engine: Evaluator, ids: Ids, context: int | None) -> None:
        self._engine, self._ids, self._context = engine, ids, context
        self.tokens, self.seconds = 0, 0.0

    def __call__(self, model: Model | Vector) -> float:
        began = time.perf_counter()
        losses = self._engine.evaluate("look", model, self._ids, self._context)
        tokens = int(losses.tokens.sum())
        self.tokens += tokens
        self.seconds += time.perf_counter() - began
        return float(losses.nll.sum() / tokens)


def client_turns(
    strategy: Strategy, engine: ClientEngine, local: LocalSpec, seed: int, clients: Sequence[Client]
) -> list[ClientTurn]:
    """The turns of some clients of a round that work in one place.

    Their training goes to the engine at once, which may do some of it side by side.

    Raises:
        UsageError: a loss, an adapter or an update is not finite; the line names the round and the client.
    """
    looks = [Look(engine, client.ids, client.context) for client in clients]
    plans = [
        _checked(strategy.plan(client.task.sent, client.memory, look))
        for client, look in zip(clients, looks, strict=True)
    ]
    trained = _train(engine, local, seed, clients, plans)
    return [
        _turn(strategy, engine.layout, client, plan, pieces, look)
        for client, plan, pieces, look in zip(clients, plans, trained, looks, strict=True)
    ]


def check_finite(subject: str, arrays: Arrays, mend: str) -> None:
    """Refuse an array that holds a number that is not finite."""
    for key, array in arrays.items():
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise UsageError(f"{subject} '{key}' is not finite; {mend}")


def _checked(plan: Mapping[str, Work]) -> Mapping[str, Work]:
    """Hold a plan to the contract of `Strategy.plan`."""
    before: list[str] = []
    for piece, work in plan.items():
        if isinstance(work.start, str) and work.start not in before:
            raise UsageError(f"the strategy's piece '{piece}' starts from '{work.start}', which is no piece before it")
        before.append(piece)
    draws = [_draws(piece) for piece in plan]
    if draws.count("shared") != 1 or len(set(draws)) < len(draws):
        raise UsageError(
            f"the strategy plans the pieces {', '.join(plan) or '(none)'}; one is called shared, and no two the same "
            "before a slash"
        )
    return plan


def _draws(piece: str) -> str:
    """The name that a piece's draws go by."""
    return piece.partition("/")[0]


def _train(
    engine: Trainer, local: LocalSpec, seed: int, clients: Sequence[Client], plans: Sequence[Mapping[str, Work]]
) -> list[dict[str, Trained]]:
    """All pieces of all clients: first those that start from what was sent, then those that go on from them."""
    done: list[dict[str, Trained]] = [{} for _ in clients]
    ends: list[dict[str, Model]] = [{} for _ in clients]
    for wave in _waves(plans):
        asked = [_settings(local, plans[place][piece]) for place, piece in wave]
        for settings in _distinct(asked):
            group = [key for key, own in zip(wave, asked, strict=True) if own == settings]
            jobs = [_job(clients[place], piece, plans[place][piece], ends[place]) for place, piece in group]
            for (place, piece), job, result in zip(group, jobs, engine.train(jobs, settings, seed), strict=True):
                done[place][piece] = result
                ends[place][piece] = Model(result.adapter, job.start.frozen)
    return done


def _waves(plans: Sequence[Mapping[str, Work]]) -> Iterator[list[tuple[int, str]]]:
    """The pieces of all plans (by the plan's place, and their name), in groups that need not wait for each other."""
    waves: dict[int, list[tuple[int, str]]] = {}
    for place, plan in enumerate(plans):
        depth: dict[str, int] = {}
        for piece, work in plan.items():
            depth[piece] = depth[work.start] + 1 if isinstance(work.start, str) else 0
            waves.setdefault(depth[piece], []).append((place, piece))
    yield from (waves[depth] for depth in sorted(waves))


def _job(client: Client, piece: str, work: Work, ends: Mapping[str, Model]) -> Job:
    if isinstance(work.start, str):
        work = replace(work, start=ends[work.start])
    return Job(work, client.ids, ("train", client.task.round, client.task.client, _draws(piece)), client.context)


def _settings(local: LocalSpec, work: Work) -> LocalSpec:
    """The local settings of a piece of work."""
    if not work.local:
        return local
    try:
        return LocalSpec.model_validate({**local.every_field(), **work.local})
    except ValidationError as error:
        raise UsageError(f"the strategy's local settings of a piece: {first_problem(error)}") from None


def _distinct(settings: Sequence[LocalSpec]) -> list[LocalSpec]:
    return [setting for place, setting in enumerate(settings) if setting not in settings[:place]]


def _turn(
    strategy: Strategy,
    layout: Layout,
    client: Client,
    plan: Mapping[str, Work],
    trained: Mapping[str, Trained],
    look: Look,
) -> ClientTurn:
    """A client's reply to its task, from the results of its pieces of training."""
    task = client.task
    subject = f"round {task.round}, client {task.client}"
    if not all(math.isfinite(result.loss) and np.isfinite(result.adapter).all() for result in trained.values()):
        raise UsageError(f"{subject}: the local loss or adapter is not a number any more; {LOWER}")
    sent, memory = strategy.reply(task.sent, client.memory, trained)
    check_finite(f"{subject}: its update", sent, LOWER)
    piece = next(piece for piece in plan if _draws(piece) == "shared")
    shared = trained[piece]
    record = ClientRecord(
        client=task.client,
        samples=shared.samples,
        tokens=shared.tokens,
        steps=shared.steps,
        train_loss=shared.loss,
        bytes_up=message_bytes(sent, layout),
        bytes_down=message_bytes(task.sent, layout),
        seconds=round(sum(result.seconds for result in trained.values()) + look.seconds, 4),
        tokens_scored=look.tokens,
    )
    update = Update(task.round, task.client, sent, shared.samples, shared.tokens, shared.steps, shared.loss)
    start = _start(plan, piece)
    local, peak = Model(shared.adapter, start.frozen), _most([result.peak_bytes for result in trained.values()])
    return ClientTurn(Participant(start, local, update, peak), memory, record)


def _start(plan: Mapping[str, Work], piece: str) -> Model:
    """The model that a piece began at, or that which it goes on from."""
    start = plan[piece].start
    return _start(plan, start) if isinstance(start, str) else model_of(start)


def _most(peaks: Sequence[int | None]) -> int | None:
    """The largest; None if one is not there."""
    measured = [peak for peak in peaks if peak is not None]
    return max(measured) if len(measured) == len(peaks) else None
