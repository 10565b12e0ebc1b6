"""`rows.arrow`: the samples' texts and the source's scalar columns, written while the types are still being learnt.

A type can only widen: null to anything, whole numbers to fractions where these hold them exactly, all else to text, as
`value_text` writes each value. Nothing is lost, and what a value is does not depend on the others. Each time a type
widens, a new file is begun; in the end several files are joined into one of the final types. Most sources need only
one.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa

from cllora.corpus.values import EXACT, WRITTEN, Half, Single, is_one, plain, value_text

log = logging.getLogger("cllora")

_TYPES = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "small": pa.int64(),
    "int": pa.int64(),
    "float": pa.float64(),
    "single": pa.float64(),
    "half": pa.float64(),
    "str": pa.large_string(),
}
"""`small` is whole numbers that are exact as fractions, `int` others; `single` and `half` were of 32 and of 16 bits."""

_KINDS = (
    ("null", type(None)), ("bool", bool), ("small", int), ("half", Half), ("single", Single), ("float", float),
    ("str", str),
)  # fmt: skip
_FLOATS = ("float", "single", "half")
_ROUNDED: dict[str, type[Single]] = {"single": Single, "half": Half}

_OTHER = "other"
"""The kind of values that are not single (a list, fields, an image): the whole column is left out."""

MOST_FIELDS = 256
"""Columns with more different fields within them than this hold names as fields: those are left out."""


class ArrowFile:
    """An Arrow IPC file being written, one record batch at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, arrays: Sequence[pa.Array]) -> None:
        self._writer.write_batch(pa.record_batch(list(arrays), schema=self.schema))

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._writer.close()
            finally:
                self._file.close()


class RowWriter:
    """Writes `rows.arrow` into a folder: the texts as its first column, then every scalar column but `without`."""

    def __init__(self, folder: Path, without: str | None) -> None:
        self._folder = folder
        self._without = without
        self._kinds: dict[str, str] = {}
        self._parts: list[ArrowFile] = []
        self._crowded: set[str] = set()

    def add(self, texts: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
        """Append some rows; a row that lacks a column has None there."""
        names = self._names(rows)
        values = {name: [plain(row.get(name)) for row in rows] for name in names}
        kinds = {name: _widen(self._kinds.get(name, "null"), _kind(values[name])) for name in names}
        kinds |= {name: _OTHER for name in names if self._within_crowded(name)}
        if kinds != self._kinds or not self._parts:
            self.close()
            self._kinds = kinds
            self._parts.append(ArrowFile(self._folder / f"rows-{len(self._parts)}.arrow", _schema(kinds)))
        columns = [_array(values[name], kind) for name, kind in kinds.items() if kind != _OTHER]
        self._parts[-1].write([pa.array(texts, pa.large_string()), *columns])

    def _names(self, rows: Sequence[Mapping[str, object]]) -> list[str]:
        """All columns so far, but for new ones within columns that have too many."""
        all_names = dict.fromkeys([*self._kinds, *(name for row in rows for name in row if name != self._without)])
        tops = {name for row in rows for name, value in row.items() if isinstance(value, Mapping)} - self._crowded
        for top in tops:
            if sum(name.startswith(f"{top}.") for name in all_names) > MOST_FIELDS:
                log.warning("column '%s' has more than %d different fields; they are no columns", top, MOST_FIELDS)
                self._crowded.add(top)
        return [name for name in all_names if name in self._kinds or not self._within_crowded(name)]

    def _within_crowded(self, name: str) -> bool:
        return any(name.startswith(f"{top}.") for top in self._crowded)

    def finish(self) -> None:
        """Join the written parts into `rows.arrow`."""
        self.close()
        whole = self._folder / "rows.arrow"
        if len(self._parts) == 1:
            self._parts[0].path.rename(whole)
            return
        joined = ArrowFile(whole, _schema(self._kinds))
        try:
            for part in self._parts:
                for batch in read_batches(part.path):
                    joined.write([batch.column(0), *_converted(batch, self._kinds)])
                part.path.unlink()
        finally:
            joined.close()

    def close(self) -> None:
        """Close the file that is being written."""
        if self._parts:
            self._parts[-1].close()


def _schema(kinds: Mapping[str, str]) -> pa.Schema:
    columns = [
        pa.field(name, _TYPES[kind], metadata={"kind": kind} if kind in _ROUNDED else None)
        for name, kind in kinds.items()
        if kind != _OTHER
    ]
    return pa.schema([("", pa.large_string()), *columns])


def rounded_as(field: pa.Field) -> type[Single] | None:
    """The type that a column of `rows.arrow` had before it was widened; None where its numbers have lost nothing."""
    return _ROUNDED.get((field.metadata or {}).get(b"kind", b"").decode())


def _converted(batch: pa.RecordBatch, kinds: Mapping[str, str]) -> Iterable[pa.Array]:
    places = {name: place for place, name in enumerate(batch.schema.names) if place > 0}
    for name, kind in kinds.items():
        if kind != _OTHER:
            values = batch.column(places[name]).to_pylist() if name in places else [None] * batch.num_rows
            yield _array(values, kind)


def read_batches(path: Path) -> Iterable[pa.RecordBatch]:
    """The record batches of an Arrow IPC file, one at a time."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _array(values: list[Any], kind: str) -> pa.Array:  # Any: values of that kind
    if kind in _FLOATS:
        values = [None if value is None else float(value) for value in values]
    elif kind == "str":
        values = [value if isinstance(value, str) else value_text(value) for value in values]
    return pa.array(values, _TYPES[kind])


def _kind(values: Sequence[object]) -> str:
    kind = reduce(_widen, map(_kind_of_type, set(map(type, values))), "null")
    if kind in ("small", *_FLOATS):
        largest = max((abs(value) for value in values if isinstance(value, int)), default=0)
        if largest >= EXACT:
            return "str" if kind in _FLOATS or largest >= 2**63 else "int"
    return kind if all(map(is_one, values)) else _OTHER


def _kind_of_type(kind: type) -> str:
    if issubclass(kind, WRITTEN):
        return "str"
    for name, types in _KINDS:
        if issubclass(kind, types):
            return name
    return _OTHER


def _widen(first: str, second: str) -> str:
    """The narrowest kind that holds both."""
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    if _OTHER in (first, second):
        return _OTHER
    floats = [kind for kind in (first, second) if kind in _FLOATS]
    if floats and all(kind in ("small", *_FLOATS) for kind in (first, second)):
        return max(floats, key=_FLOATS.index)
    return "int" if {first, second} == {"small", "int"} else "str"
