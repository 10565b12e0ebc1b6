"""One value of a row: how it is written as text, which owner it names, and the fields within it.

What a value comes to depends on the value alone: not on its neighbours, its file, or the type of its column.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import numpy as np

from cllora.errors import UsageError

EXACT = 2**53
"""Whole numbers below this are exact as floating-point numbers; from it on several become one."""

MOST_BYTES = 256
"""Bytes are a value, such as an id, up to this many; beyond they are something else, such as an image."""

WRITTEN = (Decimal, UUID, date, time, timedelta, bytes)
"""Types of single values, besides text, numbers and truth values, that are kept as they are written."""

_PLAIN = frozenset({str, int, float, bool, type(None)})

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+|-?[1-9](?:\.[0-9]+)?e\+[0-9]+")


def flat(row: Mapping[str, object]) -> Mapping[str, object]:
    """The row with every field within a field beside it: `{"meta": {"owner": 1}}` has `meta.owner` too.

    A column that is called so itself comes first. Lists are not looked into.
    """
    if not any(isinstance(value, Mapping) for value in row.values()):
        return row
    found = dict(row)
    inside = [(name, value) for name, value in row.items() if isinstance(value, Mapping)]
    while inside:
        name, fields = inside.pop()
        for key, value in fields.items():
            if isinstance(value, Mapping):
                inside.append((f"{name}.{key}", value))
            else:
                found.setdefault(f"{name}.{key}", value)
    return found


def plain(value: object) -> object:
    """A value without what NumPy, pandas or an enumeration wraps it in; None for their kinds of none."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value).replace("T", " ")
    return value.item() if isinstance(value, np.generic) else value


def is_one(value: object) -> bool:
    """Whether it is a single value, or none: no list, no fields, no image."""
    if type(value) in _PLAIN:
        return True
    value = plain(value)
    known = value is None or isinstance(value, (str, int, float, *WRITTEN))
    return known and not (isinstance(value, bytes) and len(value) > MOST_BYTES)


def value_text(value: object) -> str | None:
    """A single value as text; None for none and NaN.

    A whole number is written as one whatever its type (1.0 as 1), other decimals as they are. Bytes are text if they
    are readable, a UUID if they are sixteen, or else hexadecimal.
    """
    value = plain(value)
    if value is None or value != value:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return str(int(value)) if whole else format(value, "f")
    return _bytes_text(value) if isinstance(value, bytes) else str(value)


def _bytes_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    # What owners' names lose (see `owner_text`) is no space to two different ids.
    if text.isprintable() and text and text == _trimmed(text) and not text.startswith("0x"):
        return text
    return str(UUID(bytes=value)) if len(value) == 16 else f"0x{value.hex()}"


def owner_text(value: object, column: str) -> str:
    """The owner that a value of `column` names; empty for none, NaN and blank text.

    An owner is a text without spaces around it, in Unicode's composed form (NFC). Beyond that texts are told apart
    exactly: `01`, `1` and `1.10` are three. But a text such as `12.0`, as tables write the number 12 next to a missing
    one, is that number.

    Raises:
        UsageError: it is no single value, or a floating-point number so large that other ids may have become it.
    """
    if not is_one(value):
        raise UsageError(
            f"column '{column}' holds {_kind(value)}, and an owner is a single value, such as a name or a number; "
            f"name another column, or a field within it as {column}.FIELD"
        )
    text = _trimmed(value_text(value) or "")
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        if repr(float(text)) == text and abs(float(text)) >= EXACT:
            raise UsageError(
                f"column '{column}' has the floating-point number {text}: whole numbers from 2^53 on are rounded in "
                "this form, and owners may have become one when it was written; write the ids as whole numbers or text"
            )
        digits: str = whole[1] or text
        return "0" if digits == "-0" else digits
    return text


def _trimmed(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "fields"
    return f"{len(value):,} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
