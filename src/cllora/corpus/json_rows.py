"""Rows out of JSON: an object per line, an array of objects, objects one after the other, or a list for every owner."""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from cllora.corpus.registered import Row
from cllora.corpus.streams import chunks, lines
from cllora.errors import UsageError

log = logging.getLogger("cllora")

WANTED = "one JSON object per line is wanted, or an array of them"
_TURNS = ({"role", "content"}, {"from", "value"})
_COMPACT = 1 << 20


class _Twice(ValueError):
    """A key is in an object twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"an object has '{next(name for name in found if names.count(name) > 1)}' twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_json(file: Path) -> Iterator[Row]:
    """The rows of a `.json` file, in any of the forms; a whole file that is one object of lists has a list per owner.

    Raises:
        UsageError: it is not UTF-8 or not JSON, or a row is no object.
    """
    return _read(file, whole=True)


def read_json_lines(file: Path) -> Iterator[Row]:
    """The rows of a `.jsonl` file: an object per line, blank lines are passed over; an array is read too.

    Raises:
        UsageError: a line is not UTF-8 or not a JSON object.
    """
    return _read(file, whole=False)


def _read(file: Path, whole: bool) -> Iterator[Row]:
    if _first_character(file) == "[":
        yield from _streamed(file, whole)
        return
    with closing(lines(file)) as found:
        numbered = ((number, line) for number, line in enumerate(found, 1) if line.strip())
        number, line = next(numbered, (0, ""))
        if not line:
            return
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError):  # it may go on in the next line
            yield from _streamed(file, whole)
            return
        after = next(numbered, None)
        if whole and after is None:
            yield from _rows_of(file, number, value)
            return
        yield _row(file, number, value)
        while after is not None:
            number, line = after
            try:
                value = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{file}, line {number}: broken JSON: {error}") from None
            yield _row(file, number, value)
            after = next(numbered, None)


def _first_character(file: Path) -> str:
    with closing(chunks(file)) as found:
        return next((text.lstrip()[0] for text in found if text.strip()), "")


class _Reader:
    """JSON values out of a file, one at a time, of which no more than one is in memory."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._chunks = chunks(file)
        self._text, self._at = "", 0
        self._counted, self._line = 0, 1  # up to where lines are counted, and the line there

    def line(self, at: int | None = None) -> int:
        """The number of the line that a place is on, by default the one that is next."""
        at = self._at if at is None else at
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            rest = self._text[self._at : self._at + 256].lstrip()
            if rest:
                self._at = self._text.index(rest[0], self._at)
                return rest[0]
            self._at = min(self._at + 256, len(self._text))
            if self._at == len(self._text) and not self._more():
                return ""

    def take(self) -> str:
        """The next character that is no space, read."""
        found = self.peek()
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
                return found
            except json.JSONDecodeError as error:
                # What is cut off in the middle is wrong at its very end, or is a text without an end.
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - 16
                if cut and self._more():
                    continue
                raise self.broken(error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.broken(str(error), self._at) from None

    def broken(self, why: str, at: int | None = None) -> UsageError:
        """What is said of JSON that is none."""
        return UsageError(f"{self.file}, line {self.line(at)}: broken JSON: {why} ({WANTED})")

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()

    def _more(self) -> bool:
        """Read on until there is twice as much as there was, so that long values are not tried too often."""
        if self._at > _COMPACT:
            self.line()
            self._text, self._at, self._counted = self._text[self._at :], 0, 0
        pieces, size = [self._text], 0
        while size <= len(self._text):
            piece = next(self._chunks, None)
            if piece is None:
                break
            pieces.append(piece)
            size += len(piece)
        self._text = "".join(pieces)
        return size > 0


def _streamed(file: Path, whole: bool) -> Iterator[Row]:
    with closing(_Reader(file)) as reader:
        first = True
        while character := reader.peek():
            if character == "[":
                yield from _elements(reader)
            else:
                number, value = reader.line(), reader.value()
                if whole and first and not reader.peek():
                    yield from _rows_of(file, number, value)
                else:
                    yield _row(file, number, value)
            first = False


def _elements(reader: _Reader) -> Iterator[Row]:
    reader.take()
    if reader.peek() == "]":
        reader.take()
        return
    while True:
        reader.peek()
        yield _row(reader.file, reader.line(), reader.value())
        mark = reader.take()
        if mark == "]":
            return
        if mark != ",":
            raise reader.broken("an array goes on with ',' or ends with ']'" if mark else "the array has no end")


def _row(file: Path, line: int, value: Any) -> Row:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list) and value and all(map(_is_turn, value)):
        return {"messages": value}
    raise UsageError(f"{file}, line {line}: a JSON object is wanted for every text, not a {type(value).__name__}")


def _rows_of(file: Path, line: int, value: Any) -> Iterator[Row]:
    """The rows of the only value of a file."""
    found = _as_table(value) if isinstance(value, dict) else None
    if found is not None:
        yield from found
        return
    owners = _owners(value) if isinstance(value, dict) else None
    if owners is None:
        yield _row(file, line, value)
        return
    log.info("%s has a list for every one of %d owners, who are column 'owner'", file, len(owners))
    for owner, held in owners.items():
        for each in _columns(held) if isinstance(held, dict) else held:
            row = _row(file, line, each)
            yield {**row, "owner": row.get("owner", owner)}


def _as_table(value: dict[str, Any]) -> Iterator[Row] | None:
    """The rows of a whole table, if the value is one: columns with a `text` among them, or what pandas writes."""
    if "text" in value and _is_table(value):
        return _columns(value)
    inner = list(value.values())
    if not inner or not all(isinstance(each, dict) and each and each.keys() == inner[0].keys() for each in inner):
        return None
    if all(map(str.isdecimal, value)):
        return iter(inner)
    if all(map(str.isdecimal, inner[0])) and not any(isinstance(v, list) for each in inner for v in each.values()):
        return ({name: held[number] for name, held in value.items()} for number in inner[0])
    return None


def _owners(value: dict[str, Any]) -> dict[str, Any] | None:
    """What every owner has, if the value has a list for each, or has such a value within one field (as LEAF does)."""
    if isinstance(value.get("user_data"), dict):
        value = value["user_data"]
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        value = inner
    held = list(value.values())
    if not any(held) or not all(_is_list(each) or _is_table(each) for each in held):
        return None
    return value


def _is_list(held: Any) -> bool:
    """Whether it is a list of texts, of rows, or of chats; the turns of one chat are none."""
    if not isinstance(held, list) or any(isinstance(each, dict) and _is_turn(each) for each in held):
        return False
    return all(
        isinstance(each, str | dict) or (isinstance(each, list) and each and all(map(_is_turn, each))) for each in held
    )


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and any(names <= value.keys() for names in _TURNS)


def _is_table(held: Any) -> bool:
    """Whether it is an object of columns: lists of one length."""
    if not isinstance(held, dict) or not all(isinstance(values, list) for values in held.values()):
        return False
    return len({len(values) for values in held.values()}) == 1


def _columns(held: dict[str, list[Any]]) -> Iterator[Row]:
    for values in zip(*held.values(), strict=True):
        yield dict(zip(held, values, strict=True))
