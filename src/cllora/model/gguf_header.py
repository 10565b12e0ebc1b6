"""The header of a GGUF file, walked before the gguf package reads it.

That package believes whatever length an array is said to have, and makes several objects of each of its entries. Here
every length is held to the bytes that there are, and all arrays together to more than any vocabulary needs. The layout
is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from pathlib import Path

from cllora.errors import UsageError
from cllora.model.gguf_fields import shown

MAGIC = b"GGUF"
VERSIONS = (2, 3)
START = 24
"""The offset at which the metadata begins: after the magic, the version and the numbers of tensors and of keys."""
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each type of number."""
TEXT, ARRAY = 8, 9
MOST_ENTRIES = 4_000_000
"""The limit for all arrays together. With scores, types and merges, Gemma's vocabulary of 262,144 tokens comes to 1.3
million."""


def check_header(path: Path, name: str) -> None:
    """Hold the lengths that the metadata of a GGUF file states to what the file holds.

    Raises:
        UsageError: it is no GGUF file, or one of the other byte order; an array in it is longer than the file, nested,
            or longer than any that is needed.
    """
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise UsageError(f"{name} is no GGUF file; choose another, or a model's folder")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                _check(data, name)
            except (struct.error, UnicodeDecodeError) as error:
                raise UsageError(
                    f"{name} is damaged or cut off, or of a kind that is not known (in its metadata: {error})"
                ) from None


def _check(data: mmap.mmap, name: str) -> None:
    (version,) = struct.unpack_from("<I", data, 4)
    if version & 0xFFFF == 0:
        raise UsageError(f"{name} is for machines of the other byte order; choose another file")
    if version not in VERSIONS:
        raise UsageError(f"{name} is of version {version} of the format; those of versions 2 and 3 are read")
    (keys,) = struct.unpack_from("<Q", data, 16)
    place, entries = START, 0
    for _ in range(keys):
        start, place = place, _after_text(data, place)
        key = data[start + 8 : place].decode()
        (kind,) = struct.unpack_from("<I", data, place)
        place += 4
        if kind == ARRAY:
            element_kind, count = struct.unpack_from("<IQ", data, place)
            entries += count
            _check_array(key, element_kind, count, entries, len(data) - place, name)
            place = _after(data, place + 12, element_kind, count, name)
        else:
            place = _after(data, place, kind, 1, name)


def _check_array(key: str, element_kind: int, count: int, entries: int, room: int, name: str) -> None:
    if element_kind == ARRAY:
        raise UsageError(f"{name}: {shown(key)} is an array of arrays, which is not supported; choose another file")
    if count * WIDTHS.get(element_kind, 8) > room:
        raise UsageError(
            f"{name} is damaged or cut off: {shown(key)} is said to have {count:,} entries, for which it is too short; "
            "choose a whole file"
        )
    if entries > MOST_ENTRIES:
        raise UsageError(
            f"{name}: with {shown(key)} its arrays have {entries:,} entries, and no more than {MOST_ENTRIES:,} are "
            "read; choose another file"
        )


def _after(data: mmap.mmap, place: int, kind: int, count: int, name: str) -> int:
    """The end of `count` values of a type."""
    if kind == TEXT:
        for _ in range(count):
            place = _after_text(data, place)
        return place
    if kind not in WIDTHS:
        raise UsageError(f"{name} is damaged or cut off, or of a kind that is not known (a value of the type {kind})")
    place += count * WIDTHS[kind]
    if place > len(data):
        raise struct.error("a value is longer than the file")
    return place


def _after_text(data: mmap.mmap, place: int) -> int:
    """The end of a text: its length in 8 bytes, then itself."""
    (length,) = struct.unpack_from("<Q", data, place)
    if length > len(data) - place - 8:
        raise struct.error("a text is longer than the file")
    return place + 8 + int(length)
