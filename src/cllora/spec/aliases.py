"""Other names for what a study can name, and the names of 0.1.0.

Canonical JSON has the first name that a thing had, so that ids stay. A study that is written in names of 0.1.0 is read
for one release more, with a warning.
"""

import re
from collections.abc import Mapping, Sequence

from cllora.errors import FieldError, deprecated
from cllora.spec.fields import Fields, alike

ALIASES: dict[str, dict[str, str]] = {
    "partition.scheme": {"dirichlet_per_client": "client_mix", "dirichlet_per_class": "class_split"},
}
"""The other names of values with their names in canonical JSON, by a field's path."""

OLD_PATHS = {"data.spoil": "data.corrupt"}
"""Paths of fields by those of 0.1.0, which canonical JSON has still."""

OLD_NAMES = {"partition.by": {"spoiled": "corrupted"}, "partition.and_by": {"spoiled": "corrupted"}}
"""The names of registered members by those of 0.1.0, which canonical JSON has still, by a field's path."""


def canonical(path: str, value: object) -> object:
    """The value of a field under its first name."""
    return ALIASES.get(path, {}).get(value, value) if isinstance(value, str) else value


def name_today(path: str, value: object) -> object:
    """A registered name, alone or with its options, as it is called today."""
    names = OLD_NAMES.get(path, {})
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping) and value.get("name") in names:
        return {**value, "name": names[value["name"]]}
    return value


def path_today(path: str) -> str:
    """A field's path as it is today; with a warning if it was given as in 0.1.0."""
    for old, new in OLD_PATHS.items():
        today = re.sub(rf"(?<![^.]){re.escape(old)}(?![^.])", new, path)
        if today != path:
            deprecated(old, new)
            path = today
    return path


def fields_today(fields: Fields) -> Fields:
    """A study as a user wrote it, with its fields under their paths of today; warns of paths and names of 0.1.0.

    Raises:
        FieldError: a field is given under both of its names.
    """
    today: Fields = {key: _section_today(key, value) for key, value in fields.items()}
    for part in ("grid", "control", "where"):
        if isinstance(today.get(part), Mapping):
            today[part] = _paths_today(today[part])
    for cases in today["where"].values() if isinstance(today.get("where"), Mapping) else ():
        for case, changes in cases.items() if isinstance(cases, dict) else ():
            cases[case] = _paths_today(changes) if isinstance(changes, Mapping) else changes
    _warn_of_names(today)
    return today


def with_first_names(fields: Fields) -> Fields:
    """An experiment's plain data with everything under its first name."""
    for old, new in OLD_PATHS.items():
        (section, key), first = new.split("."), old.split(".")[1]
        fields[section][first] = fields[section].pop(key)
    for path, names in OLD_NAMES.items():
        section, key = path.split(".")
        choice, first_names = fields[section][key], {new: old for old, new in names.items()}
        if choice is not None:
            choice["name"] = first_names.get(choice["name"], choice["name"])
    return fields


def _section_today(section: str, value: object) -> object:
    if not isinstance(value, Mapping) or section in ("grid", "control", "where"):
        return value
    prefix = f"{section}."
    return {path.removeprefix(prefix): held for path, held in _paths_today(value, prefix).items()}


def _paths_today(value: Mapping[str, object], prefix: str = "") -> Fields:
    today: Fields = {}
    for key, held in value.items():
        path = path_today(f"{prefix}{key}")
        if path in today:
            raise FieldError(f"{path} is given under two names, today's and that of 0.1.0; give it once", path)
        today[path] = held
    return today


def _warn_of_names(fields: Fields) -> None:
    for path, names in OLD_NAMES.items():
        section, key = path.split(".")
        for value in (*_at(fields, "grid", path), *_at(fields, section, key)):
            name = value.get("name") if isinstance(value, Mapping) else value
            if isinstance(name, str) and name in names:
                deprecated(f"{path}: {name}", names[name])


def _at(fields: Fields, part: str, key: str) -> list[object]:
    """The value of a part's field, or its values if they are listed."""
    value = fields[part].get(key) if isinstance(fields.get(part), Mapping) else None
    return value if isinstance(value, list) else [value]


def as_in_grid(control: Mapping[str, object], grid: Mapping[str, Sequence[object]]) -> dict[str, object]:
    """The control in the grid's own writing: 1 where the grid has 1.0."""
    named = {axis: canonical(axis, value) for axis, value in control.items()}
    return {
        axis: next((v for v in grid.get(axis, ()) if _today(axis, v) == _today(axis, value)), value)
        for axis, value in named.items()
    }


def _today(axis: str, value: object) -> object:
    return alike(name_today(axis, value))


def first_names(path: str, cases: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """The cases of `where` for a field, its values and those that go with them under their first names."""
    return {
        str(canonical(path, key)): {changed: canonical(changed, to) for changed, to in changes.items()}
        for key, changes in cases.items()
    }
