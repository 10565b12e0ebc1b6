"""A study: an experiment, what is varied over it, and how a user writes it down."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PrivateAttr, ValidationError, field_validator

from cllora.errors import FieldError, UsageError
from cllora.registry import guess
from cllora.spec.aliases import as_in_grid, canonical, fields_today, first_names
from cllora.spec.cell import REDRAW, Cell
from cllora.spec.fields import Fields, alike, axis_text, explain, holds, set_field
from cllora.spec.registration import Registration
from cllora.spec.scalars import to_yaml
from cllora.spec.section import Choice, Section
from cllora.spec.sections import Experiment
from cllora.spec.seeds import Until, seed_fields
from cllora.spec.settings import apply_settings, with_source, written_grid
from cllora.spec.where import Where, apply_where, check_where, is_where
from cllora.spec.written import Places, read_file

STUDY_FIELDS = (
    *("name", "grid", "where", "control", "controls", "seeds", "primary", "registration", "margin", "report_to"),
    *("engine", "activations_gb"),
)
"""A study's own fields; the others are sections of its base experiment."""

DRAWN = ("seed", "redraw")
"""The fields of an experiment that a study gives by `seeds` and `controls`."""

PRIMARY = "late_loss"
"""The metric that decides, where a study names none."""

LONGEST_NAME = 255
"""Bytes of a folder's name."""


class Study(Section):
    """A base experiment, the axes varied over it, the seeds, and which cell is the control.

    `seeds` are all that there may be; `until` says that they are added until every primary comparison is decided: that
    of each cell with its control in each of the metrics `primary`. `registration` is what `cllora plan` wrote down of
    that before the study was run.
    Of `controls` in a seed all but the first are drawn again (`Experiment.redraw`), to show what chance alone makes.
    `where` has fields that go with the value of another; `margin` is the share of what training gains in the control
    below which a difference in loss counts as none; `report_to` the trackers that are told of every round; `engine` is
    where cells are computed. `activations_gb` is the room on the disk (in 10^9 bytes, 0 for none) for what layers below
    the first trained one make of the texts, which is the same in all rounds and cells.
    """

    name: str = "study"
    base: Experiment = Experiment()
    grid: dict[str, tuple[object, ...]] = Field(default_factory=dict)
    where: Where = Field(default_factory=dict)
    control: dict[str, object] = Field(default_factory=dict)
    controls: Annotated[int, Field(ge=1, le=100)] = 1
    seeds: tuple[NonNegativeInt, ...] = (0,)
    until: Until | None = None
    primary: tuple[str, ...] = (PRIMARY,)
    registration: Registration | None = None
    margin: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.1
    report_to: tuple[str, ...] = ()
    engine: Choice = Choice(name="auto")
    activations_gb: NonNegativeFloat = 8
    _places: Places = PrivateAttr(default_factory=Places)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value or not all(c.isalnum() or c in "-_./@" for c in value) or ".." in value or value.startswith("/"):
            raise ValueError("use letters, digits, '-', '_', '.', '@' and inner '/' only")
        return value

    def cells(self) -> list[Cell]:
        """Every combination of the grid's values and the seeds; seeds vary fastest. Controls drawn again stand last.

        Raises:
            UsageError: a combination is no valid experiment.
        """
        return self._cells(self.seeds)

    def _cells(self, seeds: Sequence[int]) -> list[Cell]:
        """The cells of some seeds, in which all else is the same and is checked once."""
        cells = []
        for values in itertools.product(*self.grid.values()):
            experiment = self._experiment(values, seeds[0])
            for seed in seeds:
                labels = dict(zip(self.grid, values, strict=True))
                cells.append(Cell(labels=labels, experiment=experiment.model_copy(update={"seed": seed})))
        return [*cells, *(cell for redraw in range(1, self.controls) for cell in self._again(cells, redraw))]

    def _again(self, cells: Sequence[Cell], redraw: int) -> Iterator[Cell]:
        """The controls among cells, drawn again."""
        for cell in cells:
            if {**cell.labels, **self.control} == cell.labels:
                experiment = cell.experiment.model_copy(update={"redraw": redraw})
                yield Cell(labels={**cell.labels, REDRAW: redraw}, experiment=experiment)

    def _experiment(self, values: Iterable[object], seed: int) -> Experiment:
        fields = self.base.every_field()
        for axis, value in zip(self.grid, values, strict=True):
            set_field(fields, axis, value)
        apply_where(self.where, fields)
        for axis, value in zip(self.grid, values, strict=True):
            if not holds(fields, axis, value):
                raise FieldError(
                    f"grid: {axis} is overruled by a later axis or by where; leave one out", f"grid.{axis}"
                )
        return Experiment.parse({**fields, "seed": seed})

    def to_mapping(self) -> Fields:
        """The study as a user writes it (sections on top), fully resolved."""
        base = self.base.model_dump(mode="json", exclude={"seed"}, exclude_none=True)
        return {
            "name": self.name,
            **base,
            "grid": {axis: list(values) for axis, values in self.grid.items()},
            "where": _plain(self.where),
            "control": dict(self.control),
            "controls": self.controls,
            "seeds": list(self.seeds) if self.until is None else self.until.model_dump(mode="json"),
            "primary": list(self.primary),
            **({} if self.registration is None else {"registration": self.registration.model_dump(mode="json")}),
            "margin": self.margin,
            "report_to": list(self.report_to),
            "engine": self.engine.model_dump(mode="json"),
            "activations_gb": self.activations_gb,
        }

    def to_yaml(self, *, ascii_only: bool = False) -> str:
        return to_yaml(_plain(self.to_mapping()), ascii_only=ascii_only)

    @property
    def places(self) -> Places:
        """The places where its fields are written, for messages; no part of its identity."""
        return self._places

    @classmethod
    def parse(cls, written: object, settings: Iterable[str] = (), places: Places | None = None) -> "Study":
        """A study from plain data (a YAML file's), changed by `section.field=value` settings.

        Args:
            places: where the data is written, for messages.

        Raises:
            UsageError: an unknown field (with a guess), a value that is not admitted, or a control that is no cell.
        """
        if not isinstance(written, Mapping):
            source = f"{places.source}: " if places is not None and places.source else ""
            message = "a study is a mapping of sections (model, data, partition, ...), see `cllora show demo`"
            raise UsageError(f"{source}{'this file is empty; ' if written is None and source else ''}{message}")
        fields: Fields = {str(key): _plain(value) for key, value in written.items()}
        places = (places or Places()).today()
        try:
            fields = fields_today(fields)
            places = apply_settings(fields, settings, places)
            study = cls._from_fields(fields)
        except FieldError as error:
            raise places.located(error) from None
        study._places = places
        return study

    @classmethod
    def _from_fields(cls, fields: Fields) -> "Study":
        fields_of_a_study = [*STUDY_FIELDS, *(name for name in Experiment.model_fields if name not in DRAWN)]
        for key in fields:
            if key not in fields_of_a_study:
                raise FieldError(f"unknown field '{key}'; {guess(key, fields_of_a_study)}", key)
        for key in ("grid", "where", "control"):
            if fields.get(key, {}) is None:
                raise FieldError(f"{key}: there is no value here; give one, or leave the field out", key)
        sections = {key: fields.pop(key) for key in list(fields) if key not in STUDY_FIELDS}
        grid = {axis: [canonical(axis, value) for value in values] for axis, values in written_grid(fields).items()}
        if "redraw" in grid:
            raise FieldError("grid: redraw is no axis; give controls: 2 to draw the control again", "grid")
        if {"seed", "seeds"} & set(grid):
            raise FieldError("grid: seeds are no axis; give them as seeds: 5 or seeds: [1, 2, 3]", "grid")
        if not is_where(fields.get("where", {})):
            message = "where: give fields by value, such as model.name: {embedded: {local.epochs: 2}}"
            raise FieldError(message, "where")
        control = fields.get("control", {})
        where = {path: first_names(path, cases) for path, cases in fields.get("where", {}).items()}
        try:
            study = cls.model_validate(
                {
                    **fields,
                    "base": Experiment.parse(with_source(sections, grid)),
                    **seed_fields(fields.get("seeds", 1)),
                    "primary": _names(fields.get("primary", PRIMARY)),
                    "grid": {axis: tuple(values) for axis, values in grid.items()},
                    "where": where,
                    "control": as_in_grid(control, grid) if isinstance(control, dict) else control,
                    "report_to": _names(fields.get("report_to")),
                }
            )
        except ValidationError as error:
            raise explain(cls, error) from None
        study._check_grid()
        return study

    def _check_grid(self) -> None:
        if self.until is not None and not self.control:
            raise FieldError("seeds: until decided needs a control to decide against; give control", "seeds")
        if self.controls > 1 and not self.control:
            raise FieldError("controls: none is there to be drawn again; give control", "controls")
        if not self.seeds:
            raise FieldError("seeds: give at least one", "seeds")
        once: dict[str, Sequence[object]] = {"seeds": self.seeds, "report_to": self.report_to, "load": self.base.load}
        for field, given in once.items():
            _check_once(field, given)
        for axis, values in self.grid.items():
            if not values:
                raise FieldError(f"grid: the axis '{axis}' has no values", f"grid.{axis}")
            if axis == "load":
                raise FieldError("grid: load is no axis; a study has its files in all cells", "grid.load")
            _check_once(axis, values, "grid: ")
        for axis, value in self.control.items():
            if axis not in self.grid:
                message = f"control: '{axis}' is no axis of the grid; {guess(axis, self.grid)}"
                raise FieldError(message, f"control.{axis}")
            if alike(value) not in [alike(v) for v in self.grid[axis]]:
                shown = ", ".join(axis_text(v) for v in self.grid[axis])
                message = f"control: {axis} is never {axis_text(value)} in the grid; it is one of {shown}"
                raise FieldError(message, f"control.{axis}")
        check_where(self.where, self.base.every_field(), self.grid)
        self._check_cells(self._cells([max(self.seeds)]))  # The seed with the longest name stands for all.

    def _check_cells(self, cells: Sequence[Cell]) -> None:
        """Refuse cells that are the same experiment under two names, and names that cannot be a folder."""
        names = Counter(cell.name for cell in cells)
        same: dict[object, Cell] = {}
        for cell in cells:
            if names[cell.name] > 1:
                message = f"grid: two cells are called '{cell.name}'; give every value and seed once"
                raise FieldError(message, "grid")
            if len(cell.name.encode()) > LONGEST_NAME:
                message = (
                    f"grid: '{cell.name[:40]}...' is too long for a folder's name; give shorter values or fewer axes"
                )
                raise FieldError(message, "grid")
            if "local.epochs" in cell.labels and cell.experiment.local.steps is not None:
                message = "grid: local.epochs changes nothing, as local.steps overrides it; leave one of them out"
                raise FieldError(message, "grid.local.epochs")
            other = same.setdefault(alike(cell.experiment.meaning()), cell)
            if other is not cell:
                message = f"grid: the cells '{other.name}' and '{cell.name}' are the same experiment; give it once"
                raise FieldError(message, "grid")


def load_study_file(path: Path, settings: Iterable[str] = ()) -> Study:
    """A study from a YAML (or JSON) file.

    Raises:
        UsageError: no such file, not YAML, or not a study.
    """
    fields, places = read_file(path)
    return Study.parse(fields, settings, places)


def _check_once(field: str, values: Sequence[object], prefix: str = "") -> None:
    """Refuse a value that is given twice, or two that are written alike."""
    seen: dict[object, str] = {}
    for value in values:
        text = axis_text(value)
        before = seen.get(alike(value), seen.get(("reads", text)))
        if before is not None:
            message = f"{text} is given twice" if before == text else f"{before} and {text} are one value"
            raise FieldError(f"{prefix}{field}: {message}; give it once", f"{'grid.' if prefix else ''}{field}")
        seen[alike(value)] = seen["reads", text] = text


def _names(value: object) -> object:
    """A field of names as a list: one name stands for itself, and nothing or `none` for none."""
    if value in (None, "none"):
        return []
    return [value] if isinstance(value, str) else value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
