"""Rows out of JSON: an object per line, an array of objects, objects one after the other, or a list for every owner."""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from cllora.corpus.json_whole import is_turn, row_of, rows_of
from cllora.corpus.registry import Row
from cllora.corpus.streams import chunks, lines
from cllora.errors import UsageError

WANTED = "one JSON object per line is wanted, or an array of them"
_COMPACT = 1 << 20


class _Twice(ValueError):
    """A key is in an object twice."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"an object has '{next(name for name in members if names.count(name) > 1)}' twice")
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_json(file: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a `.json` file, in any of the forms; a whole file that is one object of lists has a list per owner.

    It is a table by columns where one of them is among `columns`, or has a name as columns of texts have.

    Raises:
        UsageError: it is not UTF-8 or not JSON, or a row is no object.
    """
    return _read(file, True, columns)


def read_json_lines(file: Path) -> Iterator[Row]:
    """The rows of a `.jsonl` file: an object per line, blank lines are passed over; an array is read too.

    Raises:
        UsageError: a line is not UTF-8 or not a JSON object.
    """
    return _read(file, False, ())


def _read(file: Path, whole: bool, columns: Sequence[str]) -> Iterator[Row]:
    if _first_character(file) == "[":
        yield from _streamed(file, whole, columns)
        return
    with closing(lines(file)) as text_lines:
        numbered = ((number, line) for number, line in enumerate(text_lines, 1) if line.strip())
        number, line = next(numbered, (0, ""))
        if not line:
            return
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError):  # it may go on in the next line
            yield from _streamed(file, whole, columns)
            return
        after = next(numbered, None)
        if whole and after is None:
            yield from rows_of(file, number, value, columns)
            return
        yield row_of(file, number, value)
        while after is not None:
            number, line = after
            try:
                value = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                why = f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else error
                raise UsageError(f"{file}, line {number}: broken JSON: {why}") from None
            yield row_of(file, number, value)
            after = next(numbered, None)


def _first_character(file: Path) -> str:
    with closing(chunks(file)) as pieces:
        return next((text.lstrip()[0] for text in pieces if text.strip()), "")


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
        character = self.peek()
        self._at += 1
        return character

    def value(self) -> object:
        """The next value."""
        self.peek()
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError as error:
                # JSON that is cut off in the middle is wrong at its very end, or is a text without an end.
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - 16
                if cut and self._more():
                    continue
                raise self.broken(error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.broken(str(error), self._at) from None

    def broken(self, why: str, at: int | None = None) -> UsageError:
        """The error of a file that is not JSON."""
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


def _streamed(file: Path, whole: bool, columns: Sequence[str]) -> Iterator[Row]:
    with closing(_Reader(file)) as reader:
        first = True
        while character := reader.peek():
            if character == "[":
                bare = yield from _elements(reader, whole and first)
                if bare and (reader.peek() or not first):
                    raise UsageError(
                        f"{file}, line {bare}: an array is no row; write every row as an object, such as "
                        '{"text": ...}, or all of them as one array'
                    )
            else:
                number, value = reader.line(), reader.value()
                if whole and first and not reader.peek():
                    yield from rows_of(file, number, value, columns)
                else:
                    yield row_of(file, number, value)
            first = False


def _elements(reader: _Reader, may_be_rows: bool) -> Generator[Row, None, int]:
    """The rows of an array; returns the line of the first that is no object, 0 if there is none.

    An array of turns is one chat, but for one that is all of the file, which may be a table that has such columns.
    """
    reader.take()
    bare, turns = 0, list[tuple[int, object]]()
    mark = "" if reader.peek() != "]" else reader.take()
    while mark != "]":
        reader.peek()
        line, value = reader.line(), reader.value()
        if not bare and not isinstance(value, dict):
            bare = line
        if turns and not is_turn(value):
            yield from (row_of(reader.file, *turn) for turn in turns)
            turns, may_be_rows = [], True
            yield row_of(reader.file, line, value)
        elif turns or (is_turn(value) and mark == ""):
            turns.append((line, value))
        else:
            yield row_of(reader.file, line, value)
        mark = reader.take()
        if mark not in ("]", ","):
            raise reader.broken("an array goes on with ',' or ends with ']'" if mark else "the array has no end")
    if turns and may_be_rows and not reader.peek():
        yield from (row_of(reader.file, *turn) for turn in turns)
    elif turns:
        yield {"messages": [turn for _, turn in turns]}
    return bare
