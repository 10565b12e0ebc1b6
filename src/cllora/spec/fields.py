"""Fields of a study by their path, such as `partition.alpha`: reading, setting, what a value is called, and what is
wrong with one."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cllora.registry import first_problem, guess


def axis_text(value: Any) -> str:
    """An axis value as a person reads it: 0.1, iid, fedadam, q_proj+v_proj."""
    if isinstance(value, Mapping):
        options = ",".join(f"{key}={v}" for key, v in value.items() if key != "name")
        return f"{value.get('name', '')}({options})" if options else str(value.get("name", ""))
    if isinstance(value, list | tuple):
        return "+".join(axis_text(v) for v in value)
    return str(value)


def set_field(fields: dict[str, Any], path: str, value: Any) -> None:
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


def has_field(fields: Mapping[str, Any], path: str) -> bool:
    """Whether there is something at the path, be it None."""
    *parents, last = path.split(".")
    place: Any = fields
    for name in parents:
        place = place.get(name) if isinstance(place, Mapping) else None
    return isinstance(place, Mapping) and last in place


def field_of(fields: Mapping[str, Any], path: str) -> Any:
    """What is at the path; None if nothing is."""
    place: Any = fields
    for name in path.split("."):
        place = place.get(name) if isinstance(place, Mapping) else None
    return place


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """One line for a validation error; an unknown field lists the known ones and guesses."""
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            *parents, last = (str(part) for part in problem["loc"])
            known = _fields_at(model, parents)
            path = ".".join([*parents, last])
            return f"unknown field '{path}'; {guess(last, known)}"
    return first_problem(error)


def _fields_at(model: type[BaseModel], parents: list[str]) -> list[str]:
    inner: Any = model
    for name in parents:
        inner = inner.model_fields[name].annotation
    return list(inner.model_fields)
