"""`where`: fields that go with the value of another, such as local epochs with the model.

    where: {model.name: {facebook/opt-125m: {local.epochs: 5}, facebook/opt-1.3b: {local.epochs: 1}}}

So a grid stays a product of single fields, its cells are called by those, and what goes with a value follows it
through `--set`.
"""

from collections.abc import Iterable, Mapping, Sequence

from cllora.errors import FieldError
from cllora.registry import guess
from cllora.spec.fields import SOURCES, Fields, alike, axis_text, field_of, has_field, set_value
from cllora.spec.scalars import plain_value
from cllora.spec.sections import Experiment

Where = dict[str, dict[str, dict[str, object]]]
"""The fields that go with a value, and their values: by a field's path and the text of its value."""


def is_where(value: object) -> bool:
    """Whether plain data has the shape of a `Where`."""
    if not isinstance(value, dict):
        return False
    return all(
        isinstance(cases, dict) and all(isinstance(changes, dict) for changes in cases.values())
        for cases in value.values()
    )


def apply_where(where: Where, fields: Fields) -> None:
    """Set the fields that go with the values in `fields`.

    Raises:
        FieldError: two cases that hold at once give a field two values.
    """
    given: dict[str, object] = {}
    for path, cases in where.items():
        value = field_of(fields, path)
        for key, changes in cases.items():
            if _is_value(key, value):
                for changed, to in changes.items():
                    if changed in given and alike(given[changed]) != alike(to):
                        message = (
                            f"where: {changed} is to be {axis_text(given[changed])} and {axis_text(to)} in one cell"
                        )
                        raise FieldError(f"{message}; leave one out", f"where.{path}.{key}.{changed}")
                    _check_source(changed, given, f"where.{path}.{key}.{changed}")
                    given[changed] = to
                    set_value(fields, changed, to)


def narrowed(where: Where, path: str, value: object) -> Where:
    """The cases that are left when a setting gives `path` a value, or a list of them: a field that is set goes with
    nothing any more, and cases of values that are gone are gone."""
    values = value if isinstance(value, list) else [value]
    left: Where = {}
    for field, cases in where.items():
        kept = {
            key: {changed: to for changed, to in changes.items() if not _replaced(changed, path)}
            for key, changes in cases.items()
            if field != path or any(_is_value(key, value) for value in values)
        }
        left[field] = {key: changes for key, changes in kept.items() if changes}
    return {field: cases for field, cases in left.items() if cases}


def _check_source(changed: str, given: Mapping[str, object], place: str) -> None:
    """Refuse a second source of texts in one cell, which would take the first one's place."""
    conflicting = [path for path in given if path != changed and {path, changed} <= set(SOURCES)]
    if conflicting:
        raise FieldError(f"where: {conflicting[0]} and {changed} are both to be set in one cell; leave one out", place)


def _replaced(changed: str, path: str) -> bool:
    """Whether a setting of `path` takes the place of what `where` sets."""
    return changed == path or {changed, path} <= set(SOURCES)


def check_where(where: Where, base: Mapping[str, object], grid: Mapping[str, Sequence[object]]) -> None:
    """Hold `where` against the study's base (plain data) and grid.

    Raises:
        FieldError: an unknown field, a value that the field never has, or a field that the grid varies already.
    """
    for path, cases in where.items():
        if path in NO_FIELDS or (path not in grid and not has_field(base, path)):
            raise FieldError(f"where: unknown field '{path}'; {guess(path, _paths(base))}", f"where.{path}")
        values: Iterable[object] = grid.get(path, [field_of(base, path)])
        for key, changes in cases.items():
            if not any(_is_value(key, value) for value in values):
                shown = ", ".join(axis_text(value) for value in values)
                raise FieldError(f"where: {path} is never {key} in this study; it is {shown}", f"where.{path}.{key}")
            if not changes:
                raise FieldError(f"where: nothing goes with {path} {key}; leave it out", f"where.{path}.{key}")
            for changed, to in changes.items():
                _check_change(changed, to, path, base, grid)


def _check_change(
    changed: str, to: object, path: str, base: Mapping[str, object], grid: Mapping[str, Sequence[object]]
) -> None:
    if changed in NO_FIELDS:
        raise FieldError(f"where: {changed} is the same in all cells; leave it out", f"where.{path}")
    if changed in grid or changed == path:
        message = f"where: {changed} has values of its own in the grid; leave it out here or there"
        raise FieldError(message, f"where.{path}")
    alone: Fields = {key: dict(v) if isinstance(v, dict) else v for key, v in base.items()}
    set_value(alone, changed, to)
    Experiment.parse(alone)


NO_FIELDS = ("seed", "seeds", "load")
"""The fields that are not a single cell's to set."""


def _is_value(key: str, value: object) -> bool:
    """Whether a case, written as text, is the case of a value; 16 and 16.0 are one."""
    try:
        return key == axis_text(value) or bool(alike(plain_value(key)) == alike(value))
    except ValueError:
        return False


def _paths(base: Mapping[str, object]) -> list[str]:
    return [f"{name}.{field}" for name, section in base.items() if isinstance(section, Mapping) for field in section]
