"""The registry of presets, and the facts that a preset states of itself."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

from cllora.errors import UsageError, deprecated
from cllora.registry import Registry, guess
from cllora.spec import Study

WIDTHS = {"embedded-64": 64, "embedded-128": 128, "embedded": 256}
"""The widths of the package's bases that can stand in for larger ones. The two narrow ones are also
shallower, and saw less text: see their cards."""


@dataclass(frozen=True)
class StandIns:
    """Models of the package that stand for larger ones where a study at embedded scale has an axis over them.

    used_by: who uses the larger ones, as in "they stand in for the paper's".
    models: the stand-in of each.
    """

    used_by: str
    models: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in self.models.values():
            if name not in WIDTHS:
                raise UsageError(f"'{name}' is no model of the package that can stand in; {guess(name, WIDTHS)}")


@dataclass(frozen=True)
class PresetFacts:
    """The facts of a preset.

    stand_ins: the models that stand in for its own at embedded scale, if any do.
    formerly: its name in 0.1.0, where that is another.
    """

    stand_ins: StandIns | None = None
    formerly: str = ""


presets: Registry[Callable[[], Study], PresetFacts] = Registry("preset", PresetFacts)
"""Studies by name: `@presets.register("my/study") def study() -> Study`."""


def name_today(name: str) -> str:
    """A preset's name as it is today; with a warning if it was given as in 0.1.0."""
    for today in presets.names():
        if name and presets.facts(today).formerly == name:
            deprecated(f"preset {name}", today)
            return today
    return name


def stand_ins() -> list[StandIns]:
    """The stand-ins for models, of all presets; equal ones once."""
    every = [presets.facts(name).stand_ins for name in presets.names()]
    different: list[StandIns] = []
    for stand_in in every:
        if stand_in is not None and stand_in not in different:
            different.append(stand_in)
    return different


def pretraining_tokens(model: str) -> int | None:
    """The tokens that a model of the package was pretrained on; None of others."""
    if model not in WIDTHS:
        return None
    card = resources.files("cllora.model") / model / "pretraining.json"
    return int(json.loads(card.read_text(encoding="utf-8"))["training"]["tokens"])
