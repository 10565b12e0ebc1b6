"""Rows out of comma-separated values and their like. What is wrong is named by its line."""

import contextlib
import csv
import io
import logging
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Literal

from cllora.corpus.registry import Row
from cllora.corpus.streams import lines
from cllora.errors import UsageError

DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 200
_EXCEL = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line with which Excel tells itself the delimiter."""


_QUOTED = re.compile(r'"(?:[^"]|"")*"')

log = logging.getLogger("cllora")


def read_csv(file: Path) -> Iterator[Row]:
    """Values under a header line, separated by commas, or by the other of `DELIMITERS` that gives even rows.

    Every value is text, as it stands in the file. Columns without a name are left out.

    Raises:
        UsageError: a line is not UTF-8, quotes are broken, or a row has more or fewer fields than the header.
    """
    return _separated(file, ",")


def read_tsv(file: Path) -> Iterator[Row]:
    """Read a table of tabs, as `read_csv` does one of commas; quotes that are no whole values are characters like
    others."""
    return _separated(file, "\t")


def _separated(file: Path, usual: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # a field is a text here; csv's own limit of 131072 characters is too short
    delimiter, first_line = _delimiter(file, usual)
    with closing(_rows(lines(file))) as table_lines:
        quoting: Literal[0, 3] = (
            csv.QUOTE_NONE if delimiter == "\t" and _quotes_are_plain(file, first_line) else csv.QUOTE_MINIMAL
        )
        reader = csv.reader(islice(table_lines, first_line, None), delimiter=delimiter, strict=True, quoting=quoting)
        warned = False
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1 + first_line
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise UsageError(f"{file}, row that starts on line {start}: broken CSV: {error}") from None
            if fields is None:
                return
            if not fields:
                continue
            if header is None:
                header = fields = [name.removeprefix("\ufeff") for name in fields]
                named = [place for place, name in enumerate(header) if name.strip()]
                if len({header[place] for place in named}) < len(named):
                    raise UsageError(f"{file}, line {start}: two columns of one name in {', '.join(header)}")
            elif [name.removeprefix("\ufeff") for name in fields] == header and (len(header) > 1 or fields != header):
                raise UsageError(
                    f"{file}, line {start}: the header once more, as where files were joined; remove that line, or "
                    "name the files in a list"
                )
            elif len(fields) != len(header):
                raise UsageError(f"{file}, line {start}: {len(fields)} fields, but the header has {len(header)}")
            else:
                if not warned and reader.line_num + first_line > start and _holds_rows(fields, delimiter):
                    warned = True
                    log.warning(
                        "%s, line %d: a value in quotes goes on over %d lines, each as long as a row; see whether a "
                        "quote is left open there",
                        *(file, start, reader.line_num + first_line - start + 1),
                    )
                yield {header[place]: fields[place] for place in named}


def _holds_rows(fields: Sequence[str], delimiter: str) -> bool:
    """Whether every line of a row that has several has as many values as the row."""
    return len(fields) > 1 and all(
        len(line.split(delimiter)) == len(fields) for line in delimiter.join(fields).rstrip("\r\n").split("\n")
    )


def _quotes_are_plain(file: Path, first_line: int) -> bool:
    """Whether quotes in a file of tabs are characters like others.

    They are if every line has as many values as the first, and there is one with a quote at its beginning that is not
    a whole value in quotes.
    """
    width, plain = 0, False
    with closing(lines(file)) as table_lines:
        for line in islice(table_lines, first_line, None):
            fields = line.rstrip("\r\n").split("\t")
            if fields == [""]:
                continue
            width = width or len(fields)
            if len(fields) != width:
                return False
            if '"' in line and not plain:
                plain = any(field.startswith('"') and not _QUOTED.fullmatch(field) for field in fields)
    if plain:
        log.info("%s: quotes are read as they stand", file)
    return plain and width > 1


def _rows(text_lines: Generator[str, None, None]) -> Generator[str, None, None]:
    """Lines as csv takes them: a lone `\\r` ends one too, and one in quotes is joined again."""
    with closing(text_lines):
        for line in text_lines:
            if "\r" in line.removesuffix("\n").removesuffix("\r"):
                yield from io.StringIO(line, newline="")
            else:
                yield line


def _delimiter(file: Path, usual: str) -> tuple[str, int]:
    """The delimiter of a file's values, and the number of lines at its start that only name it.

    It is the usual one if that gives rows as long as the header, of two values or more; or else the one that does, with
    the most values; or else the first that is in the header.
    """
    sample: list[str] = []
    with closing(_rows(lines(file))) as table_lines, contextlib.suppress(UsageError):  # which reading meets again
        sample.extend(islice(table_lines, _LOOKED_AT))
    separator_line = _EXCEL.fullmatch(sample[0]) if sample else None
    if separator_line is not None:
        return separator_line[1], 1
    even: dict[str, int] = {}
    uneven: dict[str, int] = {}
    for delimiter in (usual, *(other for other in DELIMITERS if other != usual)):
        sizes = _sizes(sample, delimiter)
        if sizes and sizes[0] > 1:
            # The last row may be cut.
            whole = sizes[:-1] if len(sample) == _LOOKED_AT and len(sizes) > 1 else sizes
            (even if len(set(whole)) == 1 else uneven)[delimiter] = sizes[0]
    if usual in even:
        return usual, 0
    return max(even, key=even.__getitem__) if even else next(iter(uneven), usual), 0


def _sizes(sample: Iterable[str], delimiter: str) -> list[int]:
    """The number of values of each row of the sample."""
    if delimiter == "\t":
        plain = [line.count("\t") + 1 for line in sample if line.strip("\r\n")]
        if len(set(plain)) == 1:
            return plain
    try:
        return [len(fields) for fields in csv.reader(sample, delimiter=delimiter) if fields]
    except csv.Error:
        return []
