"""Conversion of frozen dataclasses to JSON and back, so that a file has one definition: the dataclass."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from cllora.errors import UsageError
from cllora.registry import first_problem

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""The values that a JSON file can hold."""

T = TypeVar("T")


def to_plain(value: object) -> dict[str, Json]:
    """A dataclass as a JSON object, fields in their order, those of dataclasses within it too.

    A field whose default is None is left out where it is None. A field's name loses an underscore at its end, as
    `from_` has one because `from` is a word of Python.
    """
    assert is_dataclass(value)
    given = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
    return {
        name.removesuffix("_"): _plain(held)
        for name, (held, default) in given.items()
        if held is not None or default is not None
    }


def _plain(value: object) -> Json:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    assert value is None or isinstance(value, bool | int | float | str)
    return value


def from_plain(kind: type[T], fields: Mapping[str, object], source: object) -> T:
    """The dataclass `kind` from a JSON object; fields that it does not have are passed over.

    Args:
        source: where the object is from, named in the error.

    Raises:
        UsageError: a field is missing, or holds what it cannot.
    """
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        made: T = _ADAPTERS[kind].validate_python(fields)
    except ValidationError as error:
        raise UsageError(f"{source} is damaged: {first_problem(error)}") from None
    return made


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}  # Any: of every kind of dataclass
