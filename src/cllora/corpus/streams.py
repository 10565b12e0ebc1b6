"""Files as text: what compresses them, which encoding they have, and where their lines end, told by their content."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from typing_extensions import Buffer

from cllora.errors import UsageError, one_line

CHUNK = 1 << 16
"""Bytes read at a time."""

COMPRESSED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00"}
"""The endings of compressed files, and the bytes that these begin with, whatever they are called."""

_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""The first bytes of a frame of Zstandard that is skipped."""

_MARKS = (  # UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NO_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""The bytes that are no character in Windows-1252, which is Latin-1 with characters where that has control codes."""


class _Zstandard(io.RawIOBase):
    """The content of all frames of a `.zst` file; one that is cut short is an error."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        # Archives of forums are written with a window of 2 GiB.
        self._engine = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._file, self._frame, self._left = file, self._engine.decompressobj(), b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._left:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._file.read(CHUNK // 4)
            if not data:
                if self._begun and not self._frame.eof:
                    raise EOFError("the compressed file is cut short")
                return 0
            if self._frame.eof:
                self._frame = self._engine.decompressobj()
            self._begun = True
            self._left = self._frame.decompress(data)
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def failures() -> tuple[type[Exception], ...]:
    """The exceptions that reading a file can raise, whatever compresses it."""
    import lzma

    import zstandard

    return (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@contextmanager
def open_bytes(file: Path) -> Iterator[io.BufferedIOBase]:
    """A file's bytes, decompressed.

    Raises:
        OSError: it cannot be read, or is not compressed although its name says so.
    """
    with file.open("rb") as raw:
        head = raw.read(8)
        raw.seek(0)
        ending = next((ending for ending, magic in COMPRESSED.items() if head.startswith(magic)), None)
        if ending is None and _SKIPPED.match(head):  # as pzstd begins
            ending = ".zst"
        if ending is None and head and file.suffix.lower() in COMPRESSED:
            raise OSError(f"it is not compressed as its name says ({file.suffix.lower()})")
        if ending is None:
            yield raw
            return
        with _decompressed(raw, ending) as stream:
            yield stream


def _decompressed(raw: IO[bytes], ending: str) -> io.BufferedIOBase:
    if ending == ".gz":
        return gzip.open(raw)
    if ending == ".zst":
        return io.BufferedReader(_Zstandard(raw), CHUNK)
    if ending == ".bz2":
        import bz2

        return bz2.open(raw)
    import lzma

    return lzma.open(raw)


def head_of(file: Path, size: int = 4096) -> bytes:
    """The first bytes of a file, decompressed.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open_bytes(file) as stream:
            return stream.read(size)
    except failures() as error:
        raise UsageError(f"cannot read {file}: {_reason(error)}") from None


def is_compressed(file: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    with file.open("rb") as stream:
        head = stream.read(8)
    return head.startswith(tuple(COMPRESSED.values())) or bool(_SKIPPED.match(head))


def chunks(file: Path) -> Generator[str, None, None]:
    """The text of a file, piece by piece; where all lines end in `\\r`, as on old Macs, they end in `\\n` here.

    Raises:
        UsageError: it cannot be read, or is not in the encoding that its byte order mark tells, or else in UTF-8.
    """
    line, beyond_ascii = 1, False  # the line that the next piece begins on
    try:
        with open_bytes(file) as stream:
            data = stream.read(CHUNK)
            mark, encoding = next(((m, name) for m, name in _MARKS if data.startswith(m)), (b"", "utf-8"))
            decoder = codecs.getincrementaldecoder(encoding)()
            data, first = data[len(mark) :], True
            while True:
                wrong = None
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    text, wrong = error.object[: error.start].decode(encoding), error
                if first:
                    mac = "\n" not in text and "\r" in text.rstrip("\r")
                    first = False
                text = text.replace("\r", "\n") if mac else text
                good, nul, _ = text.partition("\0")
                if good:
                    yield good
                line += good.count("\n")
                if nul:
                    raise UsageError(f"{file}, line {line}: {_nul(len(good.encode()))}")
                beyond_ascii |= not good.isascii()
                if wrong is not None:
                    problem = f"is not {encoding}, as the file's first bytes say"
                    problem = _not_utf8(wrong.object, wrong.start, beyond_ascii) if encoding == "utf-8" else problem
                    raise UsageError(f"{file}, line {line}: {problem}")
                if not data:
                    return
                data = stream.read(CHUNK)
    except failures() as error:
        raise UsageError(f"cannot read {file} after line {line - 1}: {_reason(error)}") from None


def _nul(place: int) -> str:
    """The error of a NUL byte, by its place: that of `a` is the second in UTF-16-LE, and the first in UTF-16-BE."""
    return (
        "holds a NUL byte; the file is damaged, or UTF-16 without a byte order mark: convert it, such as with "
        f"`iconv -f {'utf-16le' if place % 2 else 'utf-16be'} -t utf-8 OLD > NEW`"
    )


def _not_utf8(data: bytes, start: int, before: bool) -> str:
    """The error of bytes that are not UTF-8 from `start` on; `before`: there are characters beyond ASCII before."""
    if (nul := data.find(b"\0", start)) >= 0:
        return _nul(nul)
    if before:
        return (
            "is not UTF-8, although characters before it are; the file is damaged, cut short or put together from "
            "several encodings: mend this line, or convert the parts apart"
        )
    if _NO_CP1252.isdisjoint(data[start:]):
        return (
            "is not UTF-8; convert the file, such as with `iconv -f cp1252 -t utf-8 OLD > NEW` (Windows-1252 or "
            "Latin-1, for Western European languages; name another encoding for others)"
        )
    return (
        "is not UTF-8, nor Windows-1252; convert the file from the encoding that it was written in, such as with "
        "`iconv -f shift_jis -t utf-8 OLD > NEW` for Japanese"
    )


def lines(file: Path) -> Generator[str, None, None]:
    """The lines of a file with their ends. Only a newline ends a line, as everywhere else that lines are counted."""
    begun: list[str] = []
    for text in chunks(file):
        *whole, rest = text.split("\n")
        if whole:
            whole[0] = "".join((*begun, whole[0]))
            begun = []
            for line in whole:
                yield f"{line}\n"
        if rest:
            begun.append(rest)
    if begun:
        yield "".join(begun)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(error)
