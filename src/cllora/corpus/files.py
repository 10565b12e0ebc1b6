"""Rows out of files: JSON lines, CSV, Parquet and plain text. What is wrong with a file is named by its line."""

import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from cllora.corpus.registered import Row
from cllora.errors import UsageError, one_line

ARROW_ROWS = 4096
"""How many rows of a columnar file are turned into Python objects at a time."""

_TO_UTF8 = "is not UTF-8; convert the file, such as with `iconv -f latin1 -t utf-8 OLD > NEW`"


def read_jsonl(file: Path) -> Iterator[Row]:
    """One JSON object per line; blank lines are passed over.

    Raises:
        UsageError: a line is not UTF-8 or not a JSON object.
    """
    with closing(_lines(file)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                whole = " (one JSON object per line is wanted)" if number == 1 else ""
                raise UsageError(f"{file}, line {number}: broken JSON: {error}{whole}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{file}, line {number}: a JSON object per line is wanted, not a {type(row).__name__}")
            yield row


def read_csv(file: Path) -> Iterator[Row]:
    """Comma-separated values under a header line. Every value is text, as it stands in the file.

    Raises:
        UsageError: a line is not UTF-8, quotes are broken, or a row has more or fewer fields than the header.
    """
    csv.field_size_limit(sys.maxsize)  # a field is a text here; csv's own limit of 131072 characters is too short
    with closing(_lines(file)) as lines:
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
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
                if len(set(header)) < len(header):
                    raise UsageError(f"{file}, line {start}: two columns of one name in {', '.join(header)}")
            elif len(fields) != len(header):
                raise UsageError(f"{file}, line {start}: {len(fields)} fields, but the header has {len(header)}")
            else:
                yield dict(zip(header, fields, strict=True))


def read_text_lines(file: Path) -> Iterator[Row]:
    """One text per line, as column `text`."""
    with closing(_lines(file)) as lines:
        for line in lines:
            yield {"text": line.rstrip("\r\n")}


def read_parquet(file: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a few thousand at a time."""
    try:
        for batch in _parquet(file).iter_batches(batch_size=ARROW_ROWS):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {file}: {one_line(error)}") from None


def parquet_rows(file: Path) -> int:
    """How many rows a Parquet file has, by its footer."""
    return int(_parquet(file).metadata.num_rows)


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".json": read_jsonl,
    ".csv": read_csv,
    ".txt": read_text_lines,
    ".parquet": read_parquet,
}
"""The reader for each kind of file. All but Parquet may be compressed, with a further `.gz` at the end."""


def kind_of(file: Path) -> str:
    """The key of `READERS` for a file, by its name.

    Raises:
        UsageError: the name has no known ending.
    """
    name = file.name.lower().removesuffix(".gz")
    kind = Path(name).suffix
    if kind not in READERS or (kind == ".parquet" and file.name.lower().endswith(".gz")):
        raise UsageError(f"cannot tell what {file} holds; choices: {', '.join(READERS)} (all but .parquet also .gz)")
    return kind


def read_files(files: Iterable[tuple[Path, str]]) -> Iterator[Row]:
    """The rows of many files, each given with its name; a `.txt` among them is one text, with its name as `file`."""
    for file, name in files:
        if kind_of(file) == ".txt":
            yield {"text": "".join(_lines(file)), "file": name}
        else:
            yield from READERS[kind_of(file)](file)


def digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _lines(file: Path) -> Generator[str, None, None]:
    """Decoded lines with their ends. Only a newline ends a line, as everywhere else that lines are counted."""
    number = 0
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file}, line {number}: {_TO_UTF8}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {file} after line {number}: {one_line(error)}") from None


def _parquet(file: Path) -> "pa.parquet.ParquetFile":
    import pyarrow.parquet  # slow, and not everyone's

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file} is not a Parquet file: {one_line(error)}") from None
