"""Settings on the command line, `section.field=value`, put into a study as it is written."""

from collections.abc import Iterable, Mapping, Sequence

from cllora.errors import FieldError, UsageError
from cllora.spec.aliases import path_today
from cllora.spec.fields import SOURCES, Fields, field_of, has_field, set_field
from cllora.spec.sections import Experiment
from cllora.spec.where import is_where, narrowed
from cllora.spec.written import Places, read_setting

NAMED = ("data.corpus", "federation.strategy", "model.attention", "evaluation.pattern", "partition.by")
"""Fields that are a registered name with its options, and have a default."""


def apply_settings(fields: Fields, settings: Iterable[str], places: Places) -> Places:
    """Change a study's fields by settings, of which a field's last one holds; returns where fields are written then.

    Raises:
        UsageError: a setting is none, or has no value.
    """
    before: list[str] = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not all(path.split(".")):
            raise UsageError(f"--set takes section.field=value, not '{setting}'")
        value, given = read_setting(text, f"--set {path}={' '.join(text.strip().splitlines())}", path)
        lost = next(
            (text for text in before if text.removeprefix("grid.").startswith(f"{path.removeprefix('grid.')}.")), None
        )
        if lost is not None:
            raise UsageError(f"--set {path} takes the place of --set {lost} before it; give it first, or leave one out")
        path, given = path_today(path), {path_today(key): place for key, place in given.items()}
        before.append(path)
        places = places.with_setting(path, given)
        try:
            _apply(fields, path, value)
        except FieldError as error:
            raise places.located(error) from None
    return places


def _apply(fields: Fields, path: str, value: object) -> None:
    if path.startswith("control."):
        fields["control"] = {**(fields.get("control") or {}), path.removeprefix("control."): value}
        return
    may_be_new, path = path.startswith("grid."), path.removeprefix("grid.")
    if path in SOURCES and isinstance(fields.get("data"), dict):
        # A text source in place of the study's own: there can be only one.
        fields["data"] = {key: v for key, v in fields["data"].items() if f"data.{key}" not in SOURCES}
        for other in set(SOURCES) - {path}:
            _drop_axis(fields, other)
    if is_where(fields.get("where")):
        fields["where"] = narrowed(fields["where"], path, value)
    grid = written_grid(fields)
    _name_what_has_options(fields, grid, path)
    if isinstance(value, list) and (path in grid or may_be_new):
        fields["grid"] = {**grid, path: value}
        return
    if may_be_new:
        raise FieldError(f"grid: the axis {path} takes a list of values, such as [{value}]", f"grid.{path}")
    if path in grid:
        # A single value fixes the field: the axis is gone, and with it what the control said of it.
        del grid[path]
        (fields.get("control") or {}).pop(path, None)
    set_field(fields, path, value)


def _name_what_has_options(fields: Fields, grid: Mapping[str, object], path: str) -> None:
    """Name the default member where a setting gives an option to an unnamed one, such as `federation.strategy`.

    Raises:
        FieldError: the name is an axis, whose values would take the option's place in every cell.
    """
    parents = [path[:end] for end, character in enumerate(path) if character == "."]
    default = Experiment().every_field()
    for parent in parents:
        if parent in grid:
            option = path.removeprefix(f"{parent}.")
            message = f"grid: {parent} has values of its own; give {option} there, as {{name: ..., {option}: ...}}"
            raise FieldError(message, path)
        named = field_of(default, parent)
        name = named.get("name") if isinstance(named, Mapping) else named
        has_source = parent == "data.corpus" and any(has_field(fields, source) for source in SOURCES)
        if isinstance(name, str) and parent in NAMED and not has_source:
            written = field_of(fields, parent)
            if written is None or (isinstance(written, dict) and "name" not in written):
                set_field(fields, parent, {"name": name, **(written or {})})


def with_source(sections: Fields, grid: Mapping[str, Sequence[object]]) -> Fields:
    """The sections of the base, with the first of a grid's text sources where they name none themselves."""
    data, axes = sections.get("data", {}), [source for source in ("data.path", "data.hub") if source in grid]
    if len(axes) != 1 or not grid[axes[0]] or not isinstance(data, dict):
        return sections
    if any(f"data.{key}" in SOURCES for key in data):
        return sections
    return {**sections, "data": {**data, axes[0].removeprefix("data."): grid[axes[0]][0]}}


def written_grid(fields: Mapping[str, object]) -> dict[str, list[object]]:
    """The grid as it is written.

    Raises:
        FieldError: it is no mapping of lists.
    """
    grid = fields.get("grid", {})
    if not isinstance(grid, dict) or not all(isinstance(values, list) for values in grid.values()):
        message = "grid: give every axis a list of values, such as partition.alpha: [0.1, 1, iid]"
        wrong = (
            [axis for axis, values in grid.items() if not isinstance(values, list)] if isinstance(grid, dict) else []
        )
        raise FieldError(message, f"grid.{wrong[0]}" if wrong else "grid")
    return grid


def _drop_axis(fields: Fields, axis: str) -> None:
    """Remove an axis from the study, with its cases and control."""
    for part in ("grid", "where", "control"):
        written = fields.get(part)
        if isinstance(written, dict):
            fields[part] = {key: v for key, v in written.items() if key != axis and not key.startswith(f"{axis}.")}
