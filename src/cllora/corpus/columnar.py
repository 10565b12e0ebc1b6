"""Rows out of Parquet and Arrow: values as Python has them, and as text or by a type of ours where it has none."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from cllora.corpus.registry import Row
from cllora.corpus.values import Half, Single
from cllora.errors import UsageError, one_line

ARROW_ROWS = 4096
"""The number of rows of a columnar file that are turned into Python objects at a time."""


def read_parquet(file: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a few thousand at a time."""
    try:
        for batch in _parquet(file).iter_batches(batch_size=ARROW_ROWS):
            yield from arrow_rows(batch, str(file))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {file}: {one_line(error)}") from None


def parquet_rows(file: Path) -> int:
    """The number of rows of a Parquet file, by its footer."""
    return int(_parquet(file).metadata.num_rows)


def read_arrow(file: Path) -> Iterator[Row]:
    """The rows of an Arrow file (Feather is one), or of a stream of record batches in a file."""
    try:
        with pa.memory_map(str(file)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            record_batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in record_batches:
                for start in range(0, batch.num_rows, ARROW_ROWS):
                    yield from arrow_rows(batch.slice(start, ARROW_ROWS), str(file))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file} is not an Arrow file, or is damaged: {one_line(error)}") from None


def _parquet(file: Path) -> "pa.parquet.ParquetFile":
    import pyarrow.parquet  # slow, and not everyone's

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file} is not a Parquet file: {one_line(error)}") from None


def arrow_rows(table: pa.RecordBatch | pa.Table, name: str) -> list[Row]:
    """The rows of a part of the source `name`.

    A text that is not UTF-8 holds lone surrogates, as one in JSON may. Times that Python cannot hold (beyond the year
    9999, or finer than it knows) are NumPy's or text. Numbers of fewer bits than Python's are `Single` or `Half`.

    Raises:
        UsageError: two columns have one name, or a column holds values that cannot be read.
    """
    names = table.schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{name}: two columns of one name, '{twice}'; rename one of them")
    columns = []
    for place, column in enumerate(names):
        try:
            columns.append(_values(table.column(place)))
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise UsageError(f"{name}: column '{column}' cannot be read: {one_line(error)}") from None
    if not columns:
        return [{}] * table.num_rows
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in _values(chunk)]
    kind = column.type
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        single_or_half = Single if pa.types.is_float32(kind) else Half
        return [None if value is None else single_or_half(value) for value in column.to_pylist()]
    if kind == pa.time64("ns"):
        return _plain(column.cast(pa.string()) if _is_fine(column) else column)
    if pa.types.is_struct(kind):
        fields = zip(*map(_values, column.flatten()), strict=True)
        names = [field.name for field in kind]
        inner = [dict(zip(names, values, strict=True)) for values in fields] or [{}] * len(column)
        return [row if valid else None for row, valid in zip(inner, column.is_valid().to_pylist(), strict=True)]
    try:
        return _plain(column)
    except (UnicodeDecodeError, OverflowError, ValueError):
        return _unusual(column)


def _plain(column: pa.Array) -> list[object]:
    values: list[object] = column.to_pylist()
    return values


def _is_fine(column: pa.Array) -> bool:
    """Whether times are told apart by less than a microsecond."""
    return any(value % 1000 for value in column.cast(pa.int64()).to_pylist() if value is not None)


def _unusual(column: pa.Array) -> list[object]:
    """Values that Python has no object for."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        return _values(column.storage)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        held = column.cast(pa.binary() if pa.types.is_string(kind) else pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in held]
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        numpy_type = np.datetime64 if pa.types.is_timestamp(kind) else np.timedelta64
        zone = "+00:00" if pa.types.is_timestamp(kind) and kind.tz else ""
        return [_moment(value, numpy_type, kind.unit, zone) for value in column]
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).to_pylist()
        return [None if value is None else np.datetime64(value, "D") for value in days]
    return _plain(column)  # and what is wrong is said


def _moment(value: pa.Scalar, numpy_type: type, unit: str, zone: str) -> object:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        moment = numpy_type(value.value, unit)
        return f"{moment}{zone}".replace("T", " ") if zone else moment
