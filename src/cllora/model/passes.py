"""Passes through the base that several adapters share: how much goes into one, and which neighbours do."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from cllora.types import Model, same_frozen

_T = TypeVar("_T")

TRAINING_BLOCK = {"cpu": 1024, "cuda": 16384}
EVALUATION_BLOCK = {"cpu": 4096, "cuda": 65536}
"""Tokens of one client, or of an evaluation, that go through the network at once. They decide which dropout mask falls
where."""
TOGETHER = {"cpu": 1536, "cuda": 16384}
"""Tokens in a step of all clients that train together: more would make the products no faster."""
MOST_TOGETHER = 8
SLOT_NUMBERS = 2**24
"""Clients that train together, and numbers that all their adapters may have."""
CELLS_TOGETHER = {"cpu": 4096, "cuda": 32768}
MOST_OF_CELLS = 40
"""The same tokens and clients, where those of several cells train together."""
EVALUATED_TOGETHER = {"cpu": 0, "cuda": 65536}
"""Tokens of all models that are evaluated in one pass. None on a CPU, where it makes nothing faster."""


def side_by_side(
    models: Sequence[Model], tokens: Sequence[float], most_tokens: int, most_models: int
) -> Iterator[slice]:
    """Neighbours among models that share a pass: so many of them at most, with so many tokens, over the same frozen
    matrices. One alone may have more tokens."""
    start, room = 0, 0.0
    for place, model in enumerate(models):
        full = place - start == most_models
        apart = tokens[place] > room or full or not same_frozen(models[start].frozen, model.frozen)
        if place > start and apart:
            yield slice(start, place)
            start = place
        room = (room if place > start else most_tokens) - tokens[place]
    if models:
        yield slice(start, len(models))


def one_behind(items: Iterator[_T]) -> Iterator[_T]:
    """The items, each given away only when the next one has been made."""
    before: list[_T] = []
    for item in items:
        yield from before
        before = [item]
    yield from before
