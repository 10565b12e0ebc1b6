"""Rows out of a file of any kind: which reader it needs is told by its name, and by its content where that differs."""

import codecs
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from cllora.corpus.columnar import read_arrow, read_parquet
from cllora.corpus.json_rows import read_json, read_json_lines
from cllora.corpus.registry import Row
from cllora.corpus.streams import COMPRESSED, chunks, head_of, is_compressed, lines
from cllora.corpus.tables import read_csv, read_tsv
from cllora.errors import UsageError

log = logging.getLogger("cllora")

READER_VERSION = 2
"""Goes up when the same bytes are read as other rows."""


def read_text_lines(file: Path) -> Iterator[Row]:
    """One text per line, as column `text`."""
    with closing(lines(file)) as text_lines:
        for line in text_lines:
            yield {"text": line.rstrip("\r\n")}


def read_text(file: Path) -> Iterator[Row]:
    """The whole file as one text."""
    with closing(chunks(file)) as pieces:
        yield {"text": "".join(pieces)}


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_text_lines,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
"""The reader for each kind of file. All but Parquet and Arrow may be compressed: `.gz`, `.zst`, `.bz2`, `.xz`."""

BINARY = (".parquet", ".arrow", ".feather")
_REFUSED = (
    (b"PK\x03\x04", "is a ZIP archive or an Excel file; unpack it, or save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Excel or Word file; save the table as CSV"),
    (b"{\\rtf", "is a document in RTF; save it as plain text"),
    (b"%PDF-", "is a PDF; take the text out of it first"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; get that with `git lfs pull`"),
)


def ending_of(file: Path) -> str:
    """The key of `READERS` that a file's name ends with, before the ending of a compression; empty if there is none."""
    name = file.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    ending = Path(name).suffix
    return ending if ending in READERS else ""


def short_name(file: Path) -> str:
    """A file's name without its ending and that of its compression."""
    name = file.name
    for ending in COMPRESSED:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name.rsplit(".", 1)[0] if "." in name.lstrip(".") else name


def kind_of(file: Path) -> str:
    """The key of `READERS` for a file, by its content and name.

    Raises:
        UsageError: it cannot be read, or neither tells.
    """
    ending, head = ending_of(file), head_of(file)
    for magic, why in _REFUSED:
        if head.startswith(magic):
            raise UsageError(f"{file} {why}")
    kind = _by_content(head, ending)
    if ending and head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        if ending != ".txt":
            raise UsageError(f"{file} is a page in HTML, such as a server's error, and not {ending[1:].upper()}")
        log.warning("%s is a page in HTML, such as a server's error, and is read as plain text", file)
    if kind == ".txt" and _is_object(head.decode("utf-8", "ignore").split("\n", 1)[0]):
        log.warning("%s looks like JSON lines, and is read as plain text; call it .jsonl if that is wrong", file)
    if not kind:
        choices = f"{', '.join(READERS)} (all but {', '.join(BINARY)} also {', '.join(COMPRESSED)})"
        raise UsageError(f"cannot tell what {file} holds; choices: {choices}")
    if kind in BINARY and is_compressed(file):
        raise UsageError(f"{file} is {kind[1:].capitalize()} and compressed once more; decompress it")
    if ending and kind != ending:
        log.info("%s holds %s, whatever its name says", file, kind[1:])
    return kind


def _by_content(head: bytes, ending: str) -> str:
    if head.startswith(b"PAR1"):
        return ".parquet"
    if head.startswith(b"ARROW1"):
        return ".arrow"
    text = head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "ignore").lstrip()
    rows = text.startswith(("{", "["))
    if ending in BINARY or not ending:
        return ".json" if rows else ending
    if ending in (".csv", ".tsv") and rows and _is_object(text.splitlines()[0]):
        return ".jsonl"
    return ending


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
