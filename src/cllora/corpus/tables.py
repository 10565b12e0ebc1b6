"""Rows out of tables: comma-separated values and their like, Parquet and Arrow. What is wrong is named by its line."""

import contextlib
import csv
import io
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pyarrow as pa

from cllora.corpus.registered import Row
from cllora.corpus.streams import lines
from cllora.errors import UsageError, one_line

ARROW_ROWS = 4096
"""How many rows of a columnar file are turned into Python objects at a time."""

DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 200
_EXCEL = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line with which Excel tells itself the delimiter."""


def read_csv(file: Path) -> Iterator[Row]:
    """Values under a header line, separated by commas, or by the other of `DELIMITERS` that gives even rows.

    Every value is text, as it stands in the file. Columns without a name are left out.

    Raises:
        UsageError: a line is not UTF-8, quotes are broken, or a row has more or fewer fields than the header.
    """
    return _separated(file, ",")


def read_tsv(file: Path) -> Iterator[Row]:
    """As `read_csv`, but of tabs rather than of commas."""
    return _separated(file, "\t")


def _separated(file: Path, usual: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # a field is a text here; csv's own limit of 131072 characters is too short
    delimiter, told = _delimiter(file, usual)
    with closing(_rows(lines(file))) as found:
        reader = csv.reader(islice(found, told, None), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1 + told
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise UsageError(f"{file}, row that starts on line {start}: broken CSV: {error}") from None
            if fields is None:
                return
            if not fields:
                continue
            if header is None:
                header = fields
                named = [place for place, name in enumerate(header) if name.strip()]
                if len({header[place] for place in named}) < len(named):
                    raise UsageError(f"{file}, line {start}: two columns of one name in {', '.join(header)}")
            elif len(fields) != len(header):
                raise UsageError(f"{file}, line {start}: {len(fields)} fields, but the header has {len(header)}")
            else:
                yield {header[place]: fields[place] for place in named}


def _rows(found: Generator[str, None, None]) -> Generator[str, None, None]:
    """Lines as csv takes them: a lone `\\r` ends one too, and one in quotes is joined again."""
    with closing(found):
        for line in found:
            if "\r" in line.removesuffix("\n").removesuffix("\r"):
                yield from io.StringIO(line, newline="")
            else:
                yield line


def _delimiter(file: Path, usual: str) -> tuple[str, int]:
    """What separates the values of a file, and how many lines at its start only tell that.

    It is the usual one if that gives rows as long as the header, of two values or more; or else the one that does, with
    the most values; or else the first that is in the header.
    """
    sample: list[str] = []
    with closing(_rows(lines(file))) as found, contextlib.suppress(UsageError):  # which reading meets again
        sample.extend(islice(found, _LOOKED_AT))
    told = _EXCEL.fullmatch(sample[0]) if sample else None
    if told is not None:
        return told[1], 1
    even: dict[str, int] = {}
    uneven: dict[str, int] = {}
    for delimiter in (usual, *(each for each in DELIMITERS if each != usual)):
        sizes = _sizes(sample, delimiter)
        if sizes and sizes[0] > 1:
            # The last row may be cut.
            whole = sizes[:-1] if len(sample) == _LOOKED_AT and len(sizes) > 1 else sizes
            (even if len(set(whole)) == 1 else uneven)[delimiter] = sizes[0]
    if usual in even:
        return usual, 0
    return max(even, key=even.__getitem__) if even else next(iter(uneven), usual), 0


def _sizes(sample: Iterable[str], delimiter: str) -> list[int]:
    """How many values each row of the sample has."""
    try:
        return [len(fields) for fields in csv.reader(sample, delimiter=delimiter) if fields]
    except csv.Error:
        return []


def read_parquet(file: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a few thousand at a time."""
    try:
        for batch in _parquet(file).iter_batches(batch_size=ARROW_ROWS):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read {file}: {one_line(error)}") from None


def parquet_rows(file: Path) -> int:
    """How many rows a Parquet file has, by its footer."""
    return int(_parquet(file).metadata.num_rows)


def read_arrow(file: Path) -> Iterator[Row]:
    """The rows of an Arrow file (Feather is one), or of a stream of record batches in a file."""
    try:
        with pa.memory_map(str(file)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            found = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in found:
                for start in range(0, batch.num_rows, ARROW_ROWS):
                    yield from batch.slice(start, ARROW_ROWS).to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise UsageError(f"{file} is not an Arrow file, or is damaged: {one_line(error)}") from None


def _parquet(file: Path) -> "pa.parquet.ParquetFile":
    import pyarrow.parquet  # slow, and not everyone's

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file} is not a Parquet file: {one_line(error)}") from None
