"""Studies by name. A preset is a function that returns a `Study`; a variant calls it and replaces fields."""

from collections.abc import Iterable
from pathlib import Path

from cllora.errors import UsageError
from cllora.presets.first import demo
from cllora.presets.paper import length, quantity
from cllora.presets.registered import presets
from cllora.registry import guess
from cllora.spec import Study, load_study_file

__all__ = ["demo", "find_study", "length", "presets", "quantity"]


def find_study(name: str, settings: Iterable[str] = ()) -> Study:
    """A study by preset name or YAML file, changed by `section.field=value` settings.

    Raises:
        UsageError: neither a preset nor a file, or not a valid study.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return load_study_file(path, settings)
    if name not in presets.names():
        raise UsageError(f"there is no preset and no file '{name}'; {guess(name, presets.names())}")
    return Study.parse(presets.get(name)().to_mapping(), settings)
