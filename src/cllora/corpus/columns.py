"""`rows.arrow`: the samples' texts and the source's scalar columns, written while the types are still being learnt.

A type can only widen: null to anything, whole numbers to fractions, mixed ones to text. Each time one does, a new
file is begun; in the end several files are joined into one of the final types. Most sources need only one.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

_TYPES = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.large_string(),
}
_OTHER = "other"
"""What is no scalar (a list, a dict, bytes, a date): the whole column is left out."""


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

    def add(self, texts: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
        """Append some rows; a row that lacks a column has None there."""
        names = dict.fromkeys([*self._kinds, *(name for row in rows for name in row if name != self._without)])
        values = {name: [_plain(row.get(name)) for row in rows] for name in names}
        kinds = {name: _widen(self._kinds.get(name, "null"), _kind(values[name])) for name in names}
        if kinds != self._kinds or not self._parts:
            self.close()
            self._kinds = kinds
            self._parts.append(ArrowFile(self._folder / f"rows-{len(self._parts)}.arrow", _schema(kinds)))
        columns = [_array(values[name], kind) for name, kind in kinds.items() if kind != _OTHER]
        self._parts[-1].write([pa.array(texts, pa.large_string()), *columns])

    def finish(self) -> None:
        """Join what was written into `rows.arrow`."""
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
    columns = [(name, _TYPES[kind]) for name, kind in kinds.items() if kind != _OTHER]
    return pa.schema([("", pa.large_string()), *columns])


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


def _array(values: list[Any], kind: str) -> pa.Array:
    if kind in ("float", "str"):  # the two that others widen to
        cast = float if kind == "float" else str
        values = [None if value is None else cast(value) for value in values]
    return pa.array(values, _TYPES[kind])


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _kind(values: Sequence[object]) -> str:
    kind = reduce(_widen, map(_kind_of_type, set(map(type, values))), "null")
    if kind == "int" and any(value is not None and not -(2**63) <= value < 2**63 for value in values):  # type: ignore[operator]
        return "str"
    return kind


def _kind_of_type(kind: type) -> str:
    for name, known in (("null", type(None)), ("bool", bool), ("int", int), ("float", float), ("str", str)):
        if issubclass(kind, known):
            return name
    return _OTHER


def _widen(one: str, other: str) -> str:
    """The narrowest kind that holds both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if _OTHER in (one, other):
        return _OTHER
    return "float" if {one, other} == {"int", "float"} else "str"
