"""A study: an experiment, what is varied over it, and how a user writes it down."""

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeInt, ValidationError, field_validator

from cllora.errors import UsageError, one_line
from cllora.registry import guess
from cllora.spec.fields import axis_text, explain, set_field
from cllora.spec.section import Section
from cllora.spec.sections import Experiment
from cllora.spec.where import Where, apply_where, check_where, is_where, narrowed

MOST_SEEDS = 10_000
STUDY_FIELDS = ("name", "grid", "where", "control", "seeds", "report_to")
"""A study's own fields; the others are sections of its base experiment."""


SOURCES = ("data.corpus", "data.path", "data.hub")


class Cell(Section):
    """One experiment of a study and the axis values that set it apart (without the seed)."""

    labels: dict[str, Any]
    experiment: Experiment

    @property
    def name(self) -> str:
        """The cell's folder, such as `alpha=0.1,seed=0`."""
        short = {axis: axis.split(".")[-1] for axis in self.labels}
        unique = len(set(short.values())) == len(short)
        parts = [f"{short[axis] if unique else axis}={axis_text(value)}" for axis, value in self.labels.items()]
        text = ",".join([*parts, f"seed={self.experiment.seed}"])
        return "".join(c if c.isalnum() or c in "=,.-_+" else "-" for c in text)


class Study(Section):
    """A base experiment, the axes varied over it, the seeds, and which cell is the control.

    `where` has fields that go with the value of another; `report_to` the trackers that are told of every round.
    """

    name: str = "study"
    base: Experiment = Experiment()
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    where: Where = Field(default_factory=dict)
    control: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[NonNegativeInt, ...] = (0,)
    report_to: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value or not all(c.isalnum() or c in "-_./@" for c in value) or ".." in value or value.startswith("/"):
            raise ValueError("use letters, digits, '-', '_', '.', '@' and inner '/' only")
        return value

    def cells(self) -> list[Cell]:
        """Every combination of the grid's values and the seeds; seeds vary fastest.

        Raises:
            UsageError: a combination is no valid experiment.
        """
        return [
            Cell(labels=dict(zip(self.grid, values, strict=True)), experiment=self._experiment(values, seed))
            for values in itertools.product(*self.grid.values())
            for seed in self.seeds
        ]

    def _experiment(self, values: Iterable[Any], seed: int) -> Experiment:
        fields = self.base.every_field()
        for axis, value in zip(self.grid, values, strict=True):
            set_field(fields, axis, value)
        apply_where(self.where, fields)
        return Experiment.parse({**fields, "seed": seed})

    def to_mapping(self) -> dict[str, Any]:
        """The study as a user writes it (sections on top), fully resolved."""
        base = self.base.model_dump(mode="json", exclude={"seed"}, exclude_none=True)
        return {
            "name": self.name,
            **base,
            "grid": {axis: list(values) for axis, values in self.grid.items()},
            "where": _plain(self.where),
            "control": dict(self.control),
            "seeds": list(self.seeds),
            "report_to": list(self.report_to),
        }

    def to_yaml(self) -> str:
        return yaml.safe_dump(_plain(self.to_mapping()), sort_keys=False, allow_unicode=True, width=100)

    @classmethod
    def parse(cls, written: Mapping[str, Any], settings: Iterable[str] = ()) -> "Study":
        """A study from plain data (a YAML file's), changed by `section.field=value` settings.

        Raises:
            UsageError: an unknown field (with a guess), a value that is not admitted, or a control that is no cell.
        """
        if not isinstance(written, Mapping):
            raise UsageError("a study is a mapping of sections (model, data, partition, ...), see `cllora show demo`")
        fields: dict[str, Any] = _plain(written)
        for setting in settings:
            _apply_setting(fields, setting)
        known = [*STUDY_FIELDS, *(name for name in Experiment.model_fields if name != "seed")]
        for key in fields:
            if key not in known:
                raise UsageError(f"unknown field '{key}'; {guess(key, known)}")
        sections = {key: fields.pop(key) for key in list(fields) if key not in STUDY_FIELDS}
        seeds = fields.pop("seeds", 1)
        grid = _grid(fields)
        if {"seed", "seeds"} & set(grid):
            raise UsageError("grid: seeds are no axis; give them as seeds: 5 or seeds: [1, 2, 3]")
        if not is_where(fields.get("where") or {}):
            raise UsageError("where: give fields by value, such as model.name: {embedded: {local.epochs: 2}}")
        if isinstance(seeds, int) and not 0 < seeds <= MOST_SEEDS:
            raise UsageError(f"seeds: give a number from 1 to {MOST_SEEDS:,}, or a list")
        try:
            study = cls.model_validate(
                {
                    **fields,
                    "base": Experiment.parse(sections),
                    "seeds": tuple(range(seeds)) if isinstance(seeds, int) else seeds,
                    "grid": {axis: tuple(values) for axis, values in grid.items()},
                    "where": fields.get("where") or {},
                    "control": fields.get("control") or {},
                    "report_to": _names(fields.get("report_to")),
                }
            )
        except ValidationError as error:
            raise UsageError(explain(cls, error)) from None
        study._check_grid()
        return study

    def _check_grid(self) -> None:
        if not self.seeds:
            raise UsageError("seeds: give at least one")
        for axis, value in self.control.items():
            if axis not in self.grid:
                raise UsageError(f"control: '{axis}' is no axis of the grid; {guess(axis, self.grid)}")
            if value not in self.grid[axis]:
                shown = ", ".join(axis_text(v) for v in self.grid[axis])
                raise UsageError(f"control: {axis} is never {axis_text(value)} in the grid; it is one of {shown}")
        for axis, values in self.grid.items():
            if not values:
                raise UsageError(f"grid: the axis '{axis}' has no values")
        check_where(self.where, self.base.every_field(), self.grid)
        names = [cell.name for cell in self.cells()]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"grid: two cells are called '{name}'; give every value and seed once")


class _Yaml(yaml.SafeLoader):
    """YAML in which 1e-5 is a number, as in YAML 1.2; PyYAML alone would read a string."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Yaml)


def load_study_file(path: Path, settings: Iterable[str] = ()) -> Study:
    """A study from a YAML file.

    Raises:
        UsageError: no such file, not YAML, or not a study.
    """
    try:
        fields = _read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study {path}: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {one_line(error)}") from None
    return Study.parse(fields, settings)


def _apply_setting(fields: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    path = path.strip()
    if not equals or not path:
        raise UsageError(f"--set takes section.field=value, not '{setting}'")
    try:
        value = _read_yaml(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {path}: '{text}' is not a YAML value") from None
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
    grid = _grid(fields)
    if isinstance(value, list) and (path in grid or may_be_new):
        fields["grid"] = {**grid, path: value}
        return
    if path in grid:
        # A single value fixes the field: the axis is gone, and with it what the control said of it.
        del grid[path]
        (fields.get("control") or {}).pop(path, None)
    set_field(fields, path, value)


def _grid(fields: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The grid as it is written."""
    grid = fields.get("grid") or {}
    if not isinstance(grid, dict) or not all(isinstance(values, list) for values in grid.values()):
        raise UsageError("grid: give every axis a list of values, such as partition.alpha: [0.1, 1, iid]")
    return grid


def _drop_axis(fields: dict[str, Any], axis: str) -> None:
    """Take an axis out of the study, and what was said of it."""
    for part in ("grid", "where", "control"):
        written = fields.get(part)
        if isinstance(written, dict):
            fields[part] = {key: v for key, v in written.items() if key != axis and not key.startswith(f"{axis}.")}


def _names(value: Any) -> Any:
    """`report_to` as a list: one name stands for itself, and nothing or `none` for none."""
    if value in (None, "none"):
        return []
    return [value] if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
