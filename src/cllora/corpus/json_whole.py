"""Rows out of the only value of a JSON file: a table, a list for every owner, or one row."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cllora.corpus.registry import Row
from cllora.errors import UsageError

log = logging.getLogger("cllora")

_TURNS = ({"role", "content"}, {"from", "value"})
_COLUMNS = frozenset(
    (
        *("text", "texts", "label", "labels", "prompt", "prompts", "completion", "completions", "instruction"),
        *("instructions", "input", "inputs", "output", "outputs", "question", "questions", "answer", "answers"),
        *("messages", "conversations", "content", "response", "chosen", "rejected"),
    )
)
"""Names of columns, and hardly of owners."""
_SPLITS = frozenset(["train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval"])


Value = Any  # what JSON holds; the functions here find out its shape
Object = dict[str, Value]


def row_of(file: Path, line: int, value: Value) -> Row:
    """The row that a value is.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list) and value and all(map(is_turn, value)):
        return {"messages": value}
    raise UsageError(f"{file}, line {line}: a JSON object is wanted for every text, not a {type(value).__name__}")


def rows_of(file: Path, line: int, value: Value, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of the only value of a file; `columns` are those that are asked for.

    Raises:
        UsageError: it holds the splits of a dataset, or columns of different lengths.
    """
    if not isinstance(value, dict):
        yield row_of(file, line, value)
        return
    known_columns = _COLUMNS | set(columns)
    table = _as_table(file, value, known_columns)
    if table is not None:
        yield from table
        return
    owners = _owners(file, value, known_columns)
    if owners is None:
        yield row_of(file, line, value)
        return
    log.info("%s has a list for every one of %d owners, who are column 'owner'", file, len(owners))
    for owner, held in owners.items():
        for entry in _columns(held) if isinstance(held, dict) else held:
            row = {"text": None} if entry is None else row_of(file, line, entry)
            yield row if row.get("owner") is not None else {**row, "owner": owner}


def _as_table(file: Path, value: Object, known_columns: frozenset[str]) -> Iterator[Row] | None:
    """The rows of a whole table, if the value is one: known columns, or what pandas writes."""
    if _is_columns(file, value, known_columns):
        return _columns(value)
    if isinstance(data := value.get("data"), list):
        rows = _within_data(file, data, value)
        if rows is not None:
            return rows
    inner = list(value.values())
    if not inner or not all(isinstance(item, dict) and item and item.keys() == inner[0].keys() for item in inner):
        return None
    return _indexed(value, inner, known_columns)


def _within_data(file: Path, data: list[Value], value: Object) -> Iterator[Row] | None:
    """The rows of a field `data`: lists of values under `columns`, or objects that no other list is beside."""
    names = value.get("columns")
    if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in data):
        return (dict(zip(map(str, names), row, strict=True)) for row in data)
    rest = {name: held for name, held in value.items() if name != "data"}
    alone = bool(data and rest) and not any(isinstance(held, list) for held in rest.values())
    if not alone or not all(isinstance(row, dict) and not is_turn(row) for row in data):
        return None
    log.info("%s: the rows are its 'data'; not read: %s", file, ", ".join(rest))
    return iter(data)


def _indexed(value: Object, inner: list[Object], known_columns: frozenset[str]) -> Iterator[Row] | None:
    """The rows of objects of the same fields: by their index, or by columns of which each has that."""
    lists = any(isinstance(item, list) for held in inner for item in held.values())
    if all(map(str.isdecimal, value)):
        owners = all(map(_is_table, inner)) and all(_is_list(item) for held in inner for item in held.values())
        return None if owners else iter(inner)
    if lists:
        return None
    if all(map(str.isdecimal, inner[0])) or not known_columns.isdisjoint(value):
        return ({name: held[number] for name, held in value.items()} for number in inner[0])
    if len(value) > 1 and not known_columns.isdisjoint(inner[0]):
        return (row if "owner" in row else {**row, "owner": index} for index, row in value.items())
    return None


def _is_columns(file: Path, value: Object, known_columns: frozenset[str]) -> bool:
    """Whether all are lists, and one is a known column; the turns of a chat are no column."""
    if known_columns.isdisjoint(value) or not all(isinstance(held, list) for held in value.values()):
        return False
    if any(isinstance(item, dict) and is_turn(item) for held in value.values() for item in held):
        return False
    if len(sizes := {len(held) for held in value.values()}) > 1:
        raise UsageError(f"{file}: columns of different lengths: {', '.join(value)} ({min(sizes)} to {max(sizes)})")
    return True


def _owners(file: Path, value: Object, known_columns: frozenset[str]) -> Object | None:
    """The rows of every owner, if the value has a list for each, or has such a value within one field (as LEAF
    does)."""
    if isinstance(value.get("user_data"), dict):
        value = value["user_data"]
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        value = value if _is_columns(file, inner, known_columns) else inner
    held = list(value.values())
    if not any(held) or not all(_is_list(item) or _is_table(item) for item in held):
        return None
    if value.keys() <= _SPLITS:
        raise UsageError(
            f"{file} holds the splits {', '.join(value)}; write each into a file of its own (data.path, data.test)"
        )
    return value


def _is_list(held: Value) -> bool:
    """Whether it is a list of texts, of rows, or of chats, some of them blank; the turns of one chat are none."""
    if not isinstance(held, list) or any(isinstance(item, dict) and is_turn(item) for item in held):
        return False
    return all(
        entry is None
        or isinstance(entry, str | dict)
        or (isinstance(entry, list) and entry and all(map(is_turn, entry)))
        for entry in held
    )


def is_turn(value: Value) -> bool:
    """Whether it is a turn of a chat."""
    return isinstance(value, dict) and any(names <= value.keys() for names in _TURNS)


def _is_table(held: Value) -> bool:
    """Whether it is an object of columns: lists of one length."""
    if not isinstance(held, dict) or not all(isinstance(values, list) for values in held.values()):
        return False
    return len({len(values) for values in held.values()}) == 1


def _columns(held: Mapping[str, list[Value]]) -> Iterator[Row]:
    for values in zip(*held.values(), strict=True):
        yield dict(zip(held, values, strict=True))
