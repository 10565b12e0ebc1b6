"""Users' own Python files: running them, and which files their code is in."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from cllora.errors import UsageError


def code_files(file: Path) -> list[Path]:
    """A user's file and, of what it imports, the files in its own folder, in the order in which they are met."""
    found, waiting = [file.resolve()], [file.resolve()]
    while waiting:
        for name in _imported(waiting.pop()):
            place = found[0].parent.joinpath(*name.split("."))
            for each in (place.with_suffix(".py"), place / "__init__.py"):
                if each.is_file() and each not in found:
                    found.append(each)
                    waiting.append(each)
    return found


def _imported(file: Path) -> list[str]:
    """The modules that a file names in its imports; relative ones are of its folder."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = f"{node.module}." if node.module else ""
            names += [*([node.module] if node.module else []), *(f"{start}{alias.name}" for alias in node.names)]
    return names


def load_plugins(files: Iterable[str]) -> None:
    """Run users' own Python files (`load:` in a study), so that what they register can be named.

    Raises:
        UsageError: a file is missing or fails while it is run.
    """
    for file in files:
        try:
            path = Path(file).expanduser().resolve()
            is_file = path.is_file()
        except (RuntimeError, ValueError, OSError) as error:  # no such user, a NUL, a name too long
            raise UsageError(f"load: there is no file {file} ({error})") from None
        # Two files of one name in different folders are two modules.
        name = f"cllora_plugin_{path.stem}_{hashlib.sha256(str(path).encode(errors='replace')).hexdigest()[:8]}"
        if not is_file:
            raise UsageError(f"load: there is no file {file}")
        if getattr(sys.modules.get(name), "__file__", None) == str(path):
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"load: {file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(f"load: {file} failed: {type(error).__name__}: {error}") from error
