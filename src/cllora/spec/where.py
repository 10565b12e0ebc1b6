"""`where`: fields that go with the value of another, such as local epochs with the model.

    where: {model.name: {facebook/opt-125m: {local.epochs: 5}, facebook/opt-1.3b: {local.epochs: 1}}}

So a grid stays a product of single fields, its cells are called by those, and what goes with a value follows it
through `--set`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cllora.errors import UsageError
from cllora.registry import guess
from cllora.spec.fields import axis_text, field_of, has_field, set_field
from cllora.spec.sections import Experiment

Where = dict[str, dict[str, dict[str, Any]]]
"""By a field's path and the text of its value: the fields that go with it, and what they are set to."""


def is_where(value: Any) -> bool:
    """Whether plain data has the shape of a `Where`."""
    if not isinstance(value, dict):
        return False
    return all(
        isinstance(cases, dict) and all(isinstance(changes, dict) for changes in cases.values())
        for cases in value.values()
    )


def apply_where(where: Where, fields: dict[str, Any]) -> None:
    """Set in `fields` what goes with the values that are there."""
    for path, cases in where.items():
        value = field_of(fields, path)
        for key, changes in cases.items():
            if _is_value(key, value):
                for changed, to in changes.items():
                    set_field(fields, changed, to)


def narrowed(where: Where, path: str, value: Any) -> Where:
    """What is left when a setting gives `path` a value, or a list of them: a field that is set goes with nothing any
    more, and cases of values that are gone are gone."""
    values = value if isinstance(value, list) else [value]
    left: Where = {}
    for field, cases in where.items():
        kept = {
            key: {changed: to for changed, to in changes.items() if changed != path}
            for key, changes in cases.items()
            if field != path or any(_is_value(key, each) for each in values)
        }
        left[field] = {key: changes for key, changes in kept.items() if changes}
    return {field: cases for field, cases in left.items() if cases}


def check_where(where: Where, base: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> None:
    """Hold `where` against the study's base (plain data) and grid.

    Raises:
        UsageError: an unknown field, a value that the field never has, or a field that the grid varies already.
    """
    for path, cases in where.items():
        if path not in grid and not has_field(base, path):
            raise UsageError(f"where: unknown field '{path}'; {guess(path, _paths(base))}")
        values: Iterable[Any] = grid.get(path, [field_of(base, path)])
        for key, changes in cases.items():
            if not any(_is_value(key, value) for value in values):
                shown = ", ".join(axis_text(value) for value in values)
                raise UsageError(f"where: {path} is never {key} in this study; it is {shown}")
            for changed, to in changes.items():
                if changed in grid or changed == path:
                    raise UsageError(f"where: {changed} has values of its own in the grid; leave it out here or there")
                alone: dict[str, Any] = {key: dict(v) if isinstance(v, dict) else v for key, v in base.items()}
                set_field(alone, changed, to)
                Experiment.parse(alone)


def _is_value(key: str, value: Any) -> bool:
    """Whether a case, written as text, is the case of a value; 16 and 16.0 are one."""
    whole = isinstance(value, float) and value.is_integer()
    return key == axis_text(value) or (whole and key == str(int(value)))


def _paths(base: Mapping[str, Any]) -> list[str]:
    return [f"{name}.{field}" for name, section in base.items() if isinstance(section, Mapping) for field in section]
