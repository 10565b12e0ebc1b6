"""Corruptions, which lower a text's quality on purpose, so that a skew of quality has a dose."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from cllora.errors import UsageError
from cllora.registry import Registry

Strength = Annotated[float, Field(gt=0, le=1)]
"""The share of a text's words or characters that is corrupted."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"

STOCK = (
    "Please subscribe to our newsletter to receive news and special offers.",
    "This page uses cookies to give you the best possible experience.",
    "All rights reserved; no part may be reproduced without written permission.",
    "Click here to read more about this and other topics.",
    "Thank you for your visit and share this page with your friends.",
)


@dataclass(frozen=True)
class Part:
    """The part of a row that a corruption is given: the `text` to corrupt, and the `prompt` before it, which stays as
    it is.

    Where the data has answers, `text` is the answer, and `others` are distinct answers of the whole data, up to 256 of
    them; else `prompt` and `others` are empty.
    """

    text: str
    prompt: str = ""
    others: Sequence[str] = ()


@dataclass(frozen=True)
class CorruptionFacts:
    """The facts of a corruption: `needs` are rows with answers, where it cannot do without."""

    needs: Literal["answer"] | None = None


corruptions: Registry[Callable[..., str], CorruptionFacts] = Registry("corruption", CorruptionFacts)
"""Corruptions: functions of a `Part` and a generator of that part's own that give the corrupted text."""


@corruptions.register()
def shuffle_words(part: Part, rng: np.random.Generator, *, strength: Strength = 1.0) -> str:
    """A share of the words change places at random; the words and the white space stay the same."""
    pieces, places = _words(part.text)
    moved = np.sort(rng.permutation(places)[: max(2, round(strength * len(places)))])
    words = [pieces[place] for place in moved]
    shuffled = [words[source] for source in rng.permutation(len(words))]
    if shuffled == words:  # as a short text's often are: each word moves on by one
        shuffled = words[1:] + words[:1]
    for place, word in zip(moved, shuffled, strict=True):
        pieces[place] = word
    return "".join(pieces)


@corruptions.register()
def noise_characters(part: Part, rng: np.random.Generator, *, strength: Strength = 0.1) -> str:
    """A share of the characters, white space apart, become other letters from a to z, at random."""
    characters = list(part.text)
    places = np.array([place for place, character in enumerate(characters) if not character.isspace()], np.int64)
    hit = rng.permutation(places)[: max(1, round(strength * len(places)))]
    for place, letter in zip(hit, rng.integers(25, size=len(hit)), strict=True):
        other_letters = LETTERS.replace(characters[place], "")
        characters[place] = other_letters[letter]
    return "".join(characters)


@corruptions.register()
def boilerplate(part: Part, rng: np.random.Generator, *, strength: Strength = 0.5) -> str:
    """A share of the words, the last ones, give way to one stock sentence over and over; their number stays."""
    pieces, places = _words(part.text)
    stock = STOCK[rng.integers(len(STOCK))].split()
    for turn, place in enumerate(places[-max(1, round(strength * len(places))) :]):
        pieces[place] = stock[turn % len(stock)]
    return "".join(pieces)


@corruptions.register()
def truncate(part: Part, rng: np.random.Generator, *, strength: Strength = 0.5) -> str:
    """A share of the words, the last ones, are cut off; where that ends with a sentence, one more; one word stays."""
    pieces, places = _words(part.text)
    kept = max(1, len(places) - max(1, round(strength * len(places))))
    if kept > 1 and pieces[places[kept - 1]].endswith((".", "!", "?")):
        kept -= 1
    return "".join(pieces[: places[kept - 1] + 1])


@corruptions.register(needs="answer")
def wrong_answer(part: Part, rng: np.random.Generator) -> str:
    """The answer is another row's. Only for data with answers (`data.answer`).

    Raises:
        UsageError: there are no answers, or all are the same.
    """
    if not part.others:
        raise UsageError("data.corrupt: wrong_answer needs answers; name their column as data.answer")
    choice = int(rng.integers(len(part.others)))
    other = part.others[choice]
    if other == part.text:
        other = part.others[(choice + 1) % len(part.others)]
    if other == part.text:
        raise UsageError("data.corrupt: wrong_answer needs different answers; all rows have the same one")
    return other


def _words(text: str) -> tuple[list[str], list[int]]:
    """The text cut into words and the white space between them, and which of the pieces are words."""
    pieces = re.split(r"(\s+)", text)
    return pieces, [place for place in range(0, len(pieces), 2) if pieces[place]]
