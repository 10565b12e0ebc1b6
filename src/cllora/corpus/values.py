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

_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "D": 86400 * 10**9}
_PLAIN = frozenset({str, int, float, bool, type(None)})

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)\.0+")
_POWER = re.compile(r"-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]{2,3}|-?[0-9]\.[0-9]+E[0-9]{1,3}")
"""A number as tables write large ones: `1e+05` in R, Python and C, `1.23457E+17` in Excel, `1.0E7` in Java."""

_MOMENT = re.compile(
    r"([0-9]{4,7}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_UUID = re.compile(r"(?:urn:uuid:)?(\{)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?(1)\})", re.IGNORECASE)
_TRUTH = {"true": "True", "TRUE": "True", "false": "False", "FALSE": "False"}


class Single(float):
    """A floating-point number out of 32 bits: whole numbers are exact below `exact` alone."""

    exact = 2**24


class Half(Single):
    """A floating-point number out of 16 bits."""

    exact = 2**11


def flat(row: Mapping[str, object]) -> Mapping[str, object]:
    """The row with every field within a field beside it: `{"meta": {"owner": 1}}` has `meta.owner` too.

    A column that is called so itself comes first. Lists are not looked into.
    """
    if not any(isinstance(value, Mapping) for value in row.values()):
        return row
    flattened = dict(row)
    inside = [(name, value) for name, value in row.items() if isinstance(value, Mapping)]
    while inside:
        name, fields = inside.pop()
        for key, value in fields.items():
            if isinstance(value, Mapping):
                inside.append((f"{name}.{key}", value))
            else:
                flattened.setdefault(f"{name}.{key}", value)
    return flattened


def plain(value: object) -> object:
    """A plain value from one of NumPy, pandas or an enumeration; None for their missing values."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.timedelta64) and (duration := _python_duration(value)) is not None:
        return duration
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value).replace("T", " ")
    return value.item() if isinstance(value, np.generic) else value


def _python_duration(value: np.timedelta64) -> timedelta | None:
    """The duration as Python has it; None for none, in months or years, below a microsecond, or too long for Python."""
    unit, step = np.datetime_data(value.dtype)
    if np.isnat(value) or unit not in _NANOSECONDS:
        return None
    microseconds, rest = divmod(int(value.astype(np.int64)) * step * _NANOSECONDS[unit], 1000)
    limit = timedelta.max // timedelta(microseconds=1)
    return None if rest or abs(microseconds) > limit else timedelta(microseconds=microseconds)


def is_one(value: object) -> bool:
    """Whether it is a single value, or none: no list, no fields, no image."""
    if type(value) in _PLAIN:
        return True
    value = plain(value)
    supported = value is None or isinstance(value, (str, int, float, *WRITTEN))
    return supported and not (isinstance(value, bytes) and len(value) > MOST_BYTES)


def value_text(value: object) -> str | None:
    """A single value as text; None for none and NaN.

    A whole number is written as one whatever its type (1.0 as 1), other decimals as they are. Bytes are text if they
    are readable, a UUID if they are sixteen, or else hexadecimal.
    """
    value = plain(value)
    if value is None or value != value:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else _shortest(value)
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return str(int(value)) if whole else format(value, "f")
    return _bytes_text(value) if isinstance(value, bytes) else str(value)


def _shortest(value: float) -> str:
    """The fewest digits that are this number, of those with as many bits."""
    if isinstance(value, Half):
        return str(np.float16(value))
    return str(np.float32(value)) if isinstance(value, Single) else repr(value)


def _duration(value: timedelta) -> str:
    """A duration as Python writes it, of whichever library; nanoseconds, which pandas alone has, behind it."""
    text = str(timedelta(value.days, value.seconds, value.microseconds))
    more = getattr(value, "nanoseconds", 0)
    return f"{text}{'' if value.microseconds else '.000000'}{more:03d}" if more else text


def _bytes_text(value: bytes) -> str:
    if not value.strip(b" "):
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    # Spaces around it, which owners' names lose (see `owner_text`), may be what tells two binary ids apart.
    if text.isprintable() and text and text == text.strip() and not text.startswith("0x"):
        return text
    return str(UUID(bytes=value)) if len(value) == 16 else f"0x{value.hex()}"


def owner_text(value: object, column: str) -> str:
    """The owner that a value of `column` names; empty for none, NaN and blank text.

    An owner is a text without spaces around it, in Unicode's composed form (NFC). Beyond that texts are told apart
    exactly: `01`, `1` and `1.10` are three. But what readers write differently is one: the whole numbers `12`, `12.0`
    and `1.2e+01`, moments with a `T` or fractions of nothing, days at midnight, truth values, UUIDs.

    Raises:
        UsageError: it is no single value, or a number in a form so rounded that other ids may have become it.
    """
    if not is_one(value):
        raise UsageError(
            f"column '{column}' holds {_kind(value)}, and an owner is a single value, such as a name or a number; "
            f"name another column, or a field within it as {column}.FIELD"
        )
    if isinstance(value, Single) and value.is_integer() and abs(value) >= value.exact:
        raise _rounded(column, f"{float(value):.0f}", f"2^{value.exact.bit_length() - 1} on", "this type")
    text = _trimmed(value_text(value) or "")
    if text[:1] in "-0123456789" and (_WHOLE.fullmatch(text) or _POWER.fullmatch(text)):
        return _number(text, column)
    moment = _MOMENT.fullmatch(text)
    if moment is not None:
        return _moment(*moment.groups())
    if len(text) >= 36 and _UUID.fullmatch(text):
        return str(UUID(text))
    return _TRUTH.get(text, text)


def _number(text: str, column: str) -> str:
    """A whole number, whichever way a floating-point number is written; any other stays as it is."""
    number = Decimal(text)
    if number != number.to_integral_value():
        return text
    whole, (mantissa, _, power) = int(number), text.upper().partition("E")
    # A text that is no floating-point number was never one.
    if abs(whole) >= EXACT and (power or abs(whole) >= 2**1023 or int(float(whole)) == whole):
        raise _rounded(column, text, "2^53 on", "this form")
    # Java writes as many digits as there are; Excel and C's %g round, and R alone writes 1e+05 so shortly.
    short = "+" in power and sum(map(str.isdigit, mantissa)) <= int(power)
    if short and ("E" in text or int(power) > 5):
        raise _rounded(column, text, "a few digits on", "this form")
    return str(whole)


def _rounded(column: str, text: str, limit: str, form: str) -> UsageError:
    return UsageError(
        f"column '{column}' has the floating-point number {text}: whole numbers from {limit} are rounded in {form}, "
        "and owners may have become one when it was written; write the ids as whole numbers or text"
    )


def _moment(day: str, minute: str, second: str | None, fraction: str | None, zone: str | None) -> str:
    """A moment as Python writes it, without fractions of nothing; midnight is its day, where no zone is given."""
    time_of_day = f"{minute}{second or ':00'}{(fraction or '').rstrip('0').rstrip('.')}"
    if zone is None:
        return day if time_of_day == "00:00:00" else f"{day} {time_of_day}"
    return f"{day} {time_of_day}{'+00:00' if zone == 'Z' else zone if ':' in zone else f'{zone[:3]}:{zone[3:]}'}"


def _trimmed(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "fields"
    return f"{len(value):,} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
