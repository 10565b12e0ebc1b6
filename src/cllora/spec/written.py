"""A study as a user wrote it, in a file or as a setting, and the place of each part."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cllora.errors import FieldError, UsageError
from cllora.spec.aliases import path_today
from cllora.spec.scalars import plain_value, quoted
from cllora.spec.yaml import Place, read_yaml


@dataclass(frozen=True)
class Places:
    """The places where the fields of a study are written, by path. They are no part of its identity: all are equal."""

    source: str = field(default="", compare=False)
    by_path: Mapping[str, Place] = field(default_factory=dict, compare=False)

    def today(self) -> "Places":
        """The same places by the paths that fields have today."""
        return Places(self.source, {path_today(path): place for path, place in self.by_path.items()})

    def located(self, error: FieldError) -> UsageError:
        """The same error with the place of its field, as near as is known, and the remedy if text was meant."""
        place = self._find(error.field, error.value)
        if place is None:
            return UsageError(f"{self.source}: {error}") if self.source else error
        # Text in braces or brackets may have been meant for one; none at all, or a list of numbers, was not.
        value = error.value
        was_text = isinstance(value, str | int | float) or (
            bool(value) and isinstance(value, list | dict) and all(isinstance(item, str) for item in value)
        )
        mend = f"; write it in quotes: {quoted(place.raw)}" if error.wants_text and was_text and place.raw else ""
        return UsageError(f"{place.where}: {error}{mend}")

    def with_setting(self, path: str, given: Mapping[str, Place]) -> "Places":
        """The places once a setting gave `path` a value: it stands nowhere else any more."""
        field = path.removeprefix("grid.")
        gone = (field, f"grid.{field}")
        kept = {
            key: place for key, place in self.by_path.items() if not f"{key}.".startswith(tuple(f"{g}." for g in gone))
        }
        axis = {f"grid.{key.removeprefix('grid.')}": place for key, place in given.items()}
        is_axis = f"grid.{field}" in self.by_path or path.startswith("grid.")
        return Places(self.source, {**kept, **given, **(axis if is_axis else {})})

    def _find(self, path: str, value: object) -> Place | None:
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            inner = ".".join(parts[:end])
            axis = f"grid.{inner}"
            keys = [key for key in self.by_path if key.startswith(f"{axis}.")]
            keys += [key for key in self.by_path if key.startswith("where.") and key.endswith(f".{inner}")]
            given = [place for key in keys if _same(value, (place := self.by_path[key]).value)]
            candidates = given or [self.by_path[key] for key in (axis, inner) if key in self.by_path]
            candidates += [place for key, place in self.by_path.items() if key.startswith((f"{axis}.", f"{inner}."))]
            if candidates:
                return candidates[0]
        return None


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and bool(a == b)


def read_file(path: Path) -> tuple[object, Places]:
    """Plain data from a YAML or JSON file in UTF-8, or UTF-16 with its mark.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the study {path}: {getattr(error, 'strerror', None) or error}") from None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line}: this is not {encoding.removesuffix('-sig').upper()} text; save the file as UTF-8"
        ) from None
    if path.suffix == ".json":
        return _read_json(text, path), Places(str(path))
    value, places = read_yaml(text, lambda line: f"{path}, line {line}")
    return value, Places(str(path), places)


def read_setting(text: str, called: str, path: str = "") -> tuple[object, dict[str, Place]]:
    """The value of a setting, such as `--set model.context=256`, and its place.

    Raises:
        UsageError: there is none, or it may mean something else than it says.
    """
    if not text.strip():
        raise UsageError(f"{called}: there is no value; write null for none")
    value, places = read_yaml(text, lambda _: called, path)
    for place in places.values():
        if isinstance(place.value, str) and re.search(r"[\r\n]", place.raw) and place.raw[0] not in "|>":
            meant = json.dumps(place.raw.strip("\"'"), ensure_ascii=False)
            raise UsageError(f"{called}: a line break would become a space; write {meant}")
    if "#" in text and (path not in places or places[path].raw != text.strip()):
        raise UsageError(f"{called}: what follows # is a comment; write text in quotes: {quoted(text.strip())}")
    return value, places


def _read_json(text: str, path: Path) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members: dict[str, object] = {}
        for key, value in pairs:
            if key in members:
                raise UsageError(f"{path}: '{key}' is given twice; give it once")
            members[key] = value
        return members

    def no_number(name: str) -> object:
        raise UsageError(f"{path}: {name} is no number in JSON")

    def finite(digits: str) -> object:
        try:
            return plain_value(digits)
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None

    try:
        return json.loads(text, object_pairs_hook=once, parse_float=finite, parse_int=finite, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: this is not JSON: {error.msg}") from None
    except RecursionError:
        raise UsageError(f"{path}: this is not JSON that can be read: too many brackets") from None
