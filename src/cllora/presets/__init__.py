"""Studies by name. A preset is a function that returns a `Study`; a variant calls it and replaces fields."""

from collections.abc import Iterable
from pathlib import Path

from cllora.errors import UsageError
from cllora.places import expanded
from cllora.presets.demo import demo, real
from cllora.presets.registry import WIDTHS, PresetFacts, StandIns, name_today, presets, pretraining_tokens, stand_ins
from cllora.presets.scale import at_embedded_scale
from cllora.registry import guess, load_plugins
from cllora.spec import Study, load_study_file

__all__ = [
    "WIDTHS",
    "PresetFacts",
    "StandIns",
    "at_embedded_scale",
    "demo",
    "find_study",
    "presets",
    "pretraining_tokens",
    "real",
    "stand_ins",
]

SCALES = {"embedded": at_embedded_scale}
"""The ending that may stand behind a preset's name, as in `paper/length@embedded`."""


def find_study(name: str, settings: Iterable[str] = (), load: Iterable[str] = ()) -> Study:
    """A study by preset name or YAML file, changed by `section.field=value` settings.

    A preset's name may be followed by `@embedded`, see `at_embedded_scale`. The files in `load` are run first, so that
    presets in them can be named, and are added to the study's own.

    Raises:
        UsageError: neither a preset nor a file, or not a valid study.
    """
    load = tuple(load)
    load_plugins(load)
    path = expanded(name)
    if path.suffix in {".yaml", ".yml", ".json"} or path.is_file():
        study = load_study_file(path, settings)
    else:
        study = Study.parse(_preset(name).to_mapping(), settings)
    named = {Path(file).resolve() for file in study.base.load}
    new = [file for file in load if Path(file).resolve() not in named]
    return Study.parse({**study.to_mapping(), "load": [*study.base.load, *new]}, (), study.places) if new else study


def _preset(name: str) -> Study:
    short, at, scale = name.partition("@")
    short = name_today(short)
    if short not in presets.names() and expanded(name).is_dir():
        raise UsageError(f"{name} is a folder; give a preset's name or a YAML file")
    if short not in presets.names():
        raise UsageError(f"there is no preset and no file '{name}'; {guess(short, presets.names())}")
    if not at:
        return presets.get(short)()
    if scale not in SCALES:
        raise UsageError(f"there is no scale '{scale}' of a preset; {guess(scale, SCALES)}")
    return SCALES[scale](presets.get(short)())
