"""Cells computed together: what they train and evaluate goes into the same passes over the base that they share.

Every cell runs in a thread of its own, but only one at a time does: it runs until it asks for something, such as for
training, and waits. What is asked for is done when all have asked. So what meets in a pass is decided by the cells and
never by the clock, and no two threads meet in a library.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import OutOfMemoryError

from cllora.errors import counted
from cllora.model.engine import Engine, Evaluation, HeadEntropies, TokenLosses
from cllora.model.patterns import Pattern
from cllora.runs.engines import Progress
from cllora.runs.wrapped import Wrapped
from cllora.spec import LocalSpec
from cllora.types import Ids, Job, Losses, Model, Samples, Trained, Vector

log = logging.getLogger("cllora")


@dataclass(frozen=True)
class Training:
    """Jobs of a cell that are to be trained."""

    engine: Engine
    jobs: Sequence[Job]
    local: LocalSpec
    seed: int


@dataclass(frozen=True)
class Evaluating:
    """A model of a cell that is to be evaluated."""

    engine: Engine
    evaluation: Evaluation


@dataclass(frozen=True)
class Measuring:
    """A measurement of a cell that is made by itself."""

    compute: Callable[[], object]


@dataclass(frozen=True)
class Saving:
    """A round that is to be put on disk."""


Request = Measuring | Evaluating | Training | Saving
ORDER = (Measuring, Evaluating, Training, Saving)
"""The kinds of requests, the first to be done first: so cells that measure more have caught up when others train, and
a round of all is done when that of any is put on disk."""


class Ended(BaseException):
    """Ends a cell's thread where it waits; no `except Exception` on the way takes it for the cell's failure."""


class Member:
    """A cell among others: it runs while `go` waits for it, and never otherwise.

    `round` is its last round on disk, and `request` what it has asked for, None when it is over. It `may_save` when all
    others may too.
    """

    def __init__(self, round: int, cell: Callable[["Member"], Iterator[Progress]]) -> None:
        self.round = round
        self.request: Request | None = None
        self.may_save = False
        self._cell = cell
        self._answers: SimpleQueue[object] = SimpleQueue()
        self._messages: SimpleQueue[Progress | Request | BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._runs = self._ends = False

    def go(self, answer: object = None) -> list[Progress]:
        """Let the cell run on with the answer to what it asked, and wait until it asks again or is over; its progress.

        Raises:
            Exception: what the cell raises.
        """
        self._runs = True
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._answers.put(answer)
        return self._heard()

    def end(self) -> None:
        """End the cell where it waits; a round that others may have put on disk is put there first."""
        with suppress(Exception):  # That the others end matters more now.
            if self._runs:
                self._heard()
            if self.may_save:
                self.go()
        self._ends = True
        if self.request is not None:
            with suppress(Exception):
                self.go(Ended())

    def engine(self, inner: Engine) -> Engine:
        """An engine for the cell, that asks for whatever it computes."""
        return MemberEngine(inner, self)

    def wait_to_save(self) -> None:
        """In the cell's thread: wait until all others have come as far."""
        self.ask(Saving())

    def ask(self, request: Request) -> Any:  # Any: the answer to the request
        """In the cell's thread: wait for the answer."""
        if self._ends:
            raise Ended
        self._messages.put(request)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _heard(self) -> list[Progress]:
        """The cell's progress until it asks for something or is over."""
        rounds = []
        while isinstance(message := self._messages.get(), Progress):
            rounds.append(message)
            self.round = message.round
        self._runs = self.may_save = False
        self.request = None if isinstance(message, BaseException) else message
        if isinstance(message, BaseException) and not isinstance(message, Ended):
            raise message
        return rounds

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for progress in self._cell(self):
                self._messages.put(progress)
        except BaseException as error:  # noqa: BLE001 (it is raised where the cell is waited for)
            end = error
        self._messages.put(end)


class MemberEngine(Wrapped):
    """The engine of one cell among others: whatever is to be computed is asked for."""

    def __init__(self, inner: Engine, member: Member) -> None:
        super().__init__(inner)
        self._member = member

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> Sequence[Trained]:
        trained: Sequence[Trained] = self._member.ask(Training(self._inner, jobs, local, seed))
        return trained

    def over(self, samples: Samples) -> Self:
        return type(self)(self._inner.over(samples), self._member)

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        losses: Losses = self._member.ask(Evaluating(self._inner, Evaluation(model, adapter, ids, context)))
        return losses

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> Sequence[Losses]:
        losses: Sequence[Losses] = self._measured(self._inner.evaluate_all, evaluations)
        return losses

    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> Sequence[TokenLosses]:
        losses: Sequence[TokenLosses] = self._measured(self._inner.token_losses, adapter, ids, pattern)
        return losses

    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        recalled: tuple[NDArray[np.bool_], Losses] = self._measured(self._inner.recall, adapter, ids)
        return recalled

    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        entropies: HeadEntropies = self._measured(self._inner.head_entropies, adapter, ids)
        return entropies

    def save_adapter(self, adapter: Model | Vector, folder: Path) -> None:
        self._measured(self._inner.save_adapter, adapter, folder)

    def _measured(self, compute: Callable[..., object], *arguments: object) -> Any:  # Any: what it computes
        return self._member.ask(Measuring(partial(compute, *arguments)))


class Together:
    """Cells that go on together until all of them are over."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._most = len(members)

    def rounds(self) -> Iterator[Progress]:
        """Yield the cells' progress. When it is stopped, a round is on disk of all of them or of none."""
        try:
            yield from [progress for member in self._members for progress in member.go()]
            while going := [member for member in self._members if member.request is not None]:
                yield from self._step(_next(going))
        finally:
            for member in self._members:
                member.end()

    def _step(self, members: Sequence[Member]) -> list[Progress]:
        """Do what some cells have asked for, and let them run on; their progress."""
        answers = self._answers([member.request for member in members if member.request is not None])
        for member in members:
            member.may_save = isinstance(member.request, Saving)
        return [progress for member, answer in zip(members, answers, strict=True) for progress in member.go(answer)]

    def _answers(self, requests: Sequence[Request]) -> list[object]:
        """The answers to requests of one kind, or the errors that they end in."""
        groups: dict[Hashable, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(_shared(request), []).append(place)
        answers: dict[int, object] = {}
        for places in groups.values():
            answers |= zip(places, self._served([requests[place] for place in places]), strict=True)
        return [answers[place] for place in range(len(requests))]

    def _served(self, requests: Sequence[Request]) -> list[object]:
        """The answers to requests that are done together; in halves where there is no room, or where one fails."""
        if len(requests) <= self._most:
            try:
                return _done(requests)
            except Exception as error:  # noqa: BLE001 (it is raised in the cells that asked)
                if len(requests) == 1:
                    return [error]
                if isinstance(error, OutOfMemoryError):
                    self._find_room(len(requests) // 2)
        half = len(requests) // 2
        return [*self._served(requests[:half]), *self._served(requests[half:])]

    def _find_room(self, most: int) -> None:
        self._most = most
        log.warning("out of memory: from now on %s at a time train and evaluate together", counted(most, "cell"))


def _next(going: Sequence[Member]) -> list[Member]:
    """The cells whose requests are done now: of those that are furthest behind, all that ask for what comes first."""
    last = min(member.round for member in going)
    behind = [member for member in going if member.round == last]
    first = min(ORDER.index(type(member.request)) for member in behind)
    return [member for member in behind if type(member.request) is ORDER[first]]


def _shared(request: Request) -> Hashable:
    """The things that requests of one kind must agree in to be done together."""
    match request:
        case Training():
            return id(request.engine), request.local.model_dump_json()
        case Evaluating():
            return id(request.engine)
        case Measuring():
            return id(request)
        case Saving():
            return None


def _done(requests: Sequence[Request]) -> list[object]:
    """The answers to requests that share what they must."""
    match requests[0]:
        case Training(engine=engine, local=local, seed=seed):
            trainings = [request for request in requests if isinstance(request, Training)]
            jobs = [replace(job, seed=training.seed) for training in trainings for job in training.jobs]
            trained = iter(engine.train(jobs, local, seed))
            return [[next(trained) for _ in training.jobs] for training in trainings]
        case Evaluating(engine=engine):
            asked = [request.evaluation for request in requests if isinstance(request, Evaluating)]
            return list(engine.evaluate_all(asked))
        case Measuring(compute=compute):
            return [compute()]
        case Saving():
            return [None] * len(requests)
