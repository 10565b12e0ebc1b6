"""Long texts that are on every machine: the documentation of installed packages, joined in reading order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

from pydantic import PositiveInt

from cllora.corpus.docstrings import docstrings
from cllora.corpus.packages import PACKAGES, read_sources, roots_of
from cllora.errors import UsageError

MIN_CHARS, MAX_CHARS = 28_000, 270_000
"""About 8k and 100k tokens of `embedded`'s tokenizer, at 3.0 to 3.3 characters a token."""

Part = Mapping[str, str]
"""A part, which is never cut: a row with the keys `text`, `owner` and `module`."""

_BLANK = {"docstrings": "\n\n", "sources": "\n\n\n"}
"""The text between joined parts: a blank line, or the two that sources have between definitions (PEP 8)."""


def long_texts(
    *,
    packages: Sequence[str] | None = None,
    of: Literal["docstrings", "sources"] = "docstrings",
    min_chars: PositiveInt = MIN_CHARS,
    max_chars: PositiveInt = MAX_CHARS,
) -> Iterator[dict[str, str]]:
    """Yield long texts: the docstrings (or whole sources) of installed packages' modules, joined in reading order.

    Args:
        packages: names as one imports them, in the order to read them; default `PACKAGES`.
        of: what of a module is read.
        min_chars, max_chars: no text is shorter or longer (see `joined`).

    Yields:
        Rows with the keys `text`, `owner` (the package), and `first` and `last`, the modules with which the text
        begins and ends. A docstring, or a module's source, that occurs more than once is read where it comes first.

    Raises:
        UsageError: a package is not installed, or `min_chars` is above `max_chars`.
    """
    if min_chars > max_chars:
        raise UsageError(f"min_chars is {min_chars}, above max_chars, {max_chars}: no text can be as long as both ask")
    names = PACKAGES if packages is None else tuple(packages)
    parts = docstrings(packages=names) if of == "docstrings" else _source_parts(names)
    for _, of_owner in groupby(parts, key=lambda part: part["owner"]):
        yield from joined(of_owner, min_chars=min_chars, max_chars=max_chars, blank=_BLANK[of])


def joined(
    parts: Iterable[Part], *, min_chars: int = MIN_CHARS, max_chars: int = MAX_CHARS, blank: str = _BLANK["docstrings"]
) -> Iterator[dict[str, str]]:
    """Join one owner's parts, in their order, to texts of `min_chars` to `max_chars` characters.

    A text ends where a subpackage does, once it is long enough: so short ones are joined with the next. One too long is
    cut between modules, and a module too long between parts. Left out are what remains at the end of the owner if that
    is too short, and a single part that is too long.

    Yields:
        Rows with the keys `text`, `owner`, `first` and `last` (see `long_texts`).
    """
    for parts_of_one in _cut(
        [part for part in parts if len(part["text"]) <= max_chars], min_chars, max_chars, len(blank)
    ):
        text = blank.join(part["text"] for part in parts_of_one)
        if len(text) >= min_chars:
            yield {
                "text": text,
                "owner": parts_of_one[0]["owner"],
                "first": parts_of_one[0]["module"],
                "last": parts_of_one[-1]["module"],
            }


def _cut(parts: Iterable[Part], min_chars: int, max_chars: int, blank: int) -> Iterator[list[Part]]:
    """Yield the parts of each text; `blank` is the length of what they are joined by."""
    parts_of_one: list[Part] = []
    chars = 0  # of these parts, each with a blank behind it
    for _, unit in groupby(parts, key=_subpackage):
        for index, (_, of_module) in enumerate(groupby(unit, key=lambda part: part["module"])):
            module = list(of_module)
            size = sum(len(part["text"]) + blank for part in module) - blank
            may_end = chars - blank >= min_chars and (index == 0 or chars + size > max_chars)
            for part in module:
                if may_end or chars + len(part["text"]) > max_chars:
                    yield parts_of_one
                    parts_of_one, chars, may_end = [], 0, False
                parts_of_one.append(part)
                chars += len(part["text"]) + blank
    if parts_of_one:
        yield parts_of_one


def _subpackage(part: Part) -> str:
    """The first two names of its module: `numpy.linalg` of `numpy.linalg.lapack_lite`."""
    return ".".join(part["module"].split(".")[:2])


def _source_parts(packages: Sequence[str]) -> Iterator[Part]:
    """The distinct modules' sources, each in parts that end where definitions do."""
    roots = [(name, root) for name in packages for root in roots_of(name)]  # all, before the first is read
    seen: set[str] = set()
    for owner, root in roots:
        for module, source in read_sources(root, owner):
            if source.strip() and source not in seen:
                seen.add(source)
                for text in re.split(r"\n\n\n(?=\S)", source.strip("\n")):
                    yield {"text": text, "owner": owner, "module": module}
