"""Fields of a study by their path, such as `partition.alpha`: reading, setting, what a value is called, and what is
wrong with one."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cllora.errors import FieldError
from cllora.registry import field_error, guess

SOURCES = ("data.corpus", "data.path", "data.hub")
"""Fields of which an experiment has one."""

Fields = dict[str, Any]  # Any: nested as a user writes it, and not yet held against a model.
"""Plain data of a study or an experiment: sections by name, fields by name within them."""


def axis_text(value: object) -> str:
    """An axis value as a person reads it: 0.1, iid, fedadam, q_proj+v_proj."""
    if isinstance(value, Mapping):
        options = ",".join(f"{key}={v}" for key, v in value.items() if key != "name")
        return f"{value.get('name', '')}({options})" if options else str(value.get("name", ""))
    if isinstance(value, list | tuple):
        return "+".join(axis_text(v) for v in value)
    return str(value)


def set_field(fields: Fields, path: str, value: object) -> None:
    """Set `section.field` in nested plain data; a registered name's options can be reached below it."""
    *parents, last = path.split(".")
    place = fields
    for name in parents:
        inner = place.get(name)
        if isinstance(inner, str):
            inner = {"name": inner}
        place[name] = inner if isinstance(inner, dict) else {}
        place = place[name]
    place[last] = value


def has_field(fields: Mapping[str, object], path: str) -> bool:
    """Whether there is something at the path, be it None."""
    *parents, last = path.split(".")
    place: object = fields
    for name in parents:
        place = place.get(name) if isinstance(place, Mapping) else None
    return isinstance(place, Mapping) and last in place


def field_of(fields: Mapping[str, object], path: str) -> object:
    """The value at the path; None if there is none."""
    place: object = fields
    for name in path.split("."):
        place = place.get(name) if isinstance(place, Mapping) else None
    return place


def alike(value: object) -> object:
    """A form that is equal for values that a study takes for the same: 1 and 1.0, `fedavg` and `{name: fedavg}`,
    options in another order; but not 1 and true, or 1 and the text "1"."""
    if isinstance(value, Mapping):
        if set(value) == {"name"}:
            return alike(value["name"])
        return "mapping", frozenset((key, alike(v)) for key, v in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(alike(v) for v in value)
    return isinstance(value, bool), value


def same_path(value: object) -> object:
    """A path in one way of writing it: `a`, `./a`, `[a]` and `b/../a` are one. Other values stay."""
    if isinstance(value, list | tuple):
        return same_path(value[0]) if len(value) == 1 else [same_path(path) for path in value]
    return os.path.abspath(os.path.expanduser(value)) if isinstance(value, str) else value


def set_value(fields: Fields, path: str, value: object) -> None:
    """`set_field`, but a source of texts takes the place of another, as there can be only one."""
    if path in SOURCES:
        for other in SOURCES:
            set_field(fields, other, None)
    set_field(fields, path, value)


def holds(fields: Mapping[str, object], path: str, value: object) -> bool:
    """Whether a value that was set is there still; a name may have been given options since."""
    present = field_of(fields, path)
    if isinstance(present, Mapping) and isinstance(value, str):
        return bool(present.get("name") == value)
    if isinstance(present, Mapping) and isinstance(value, Mapping):
        return all(key in present and alike(present[key]) == alike(v) for key, v in value.items())
    return bool(alike(present) == alike(value))


def explain(model: type[BaseModel], error: ValidationError) -> FieldError:
    """One line for a validation error; an unknown field lists the known ones and guesses."""
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            *parents, last = (str(part) for part in problem["loc"])
            fields = _fields_at(model, parents)
            path = ".".join([*parents, last])
            return FieldError(f"unknown field '{path}'; {guess(last, fields)}", path)
    return field_error(error)


def _fields_at(model: type[BaseModel], parents: list[str]) -> list[str]:
    inner = model
    for name in parents:
        section = inner.model_fields[name].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        inner = section
    return list(inner.model_fields)
