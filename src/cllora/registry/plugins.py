"""Users' own Python files: running them, and which files their code is in."""

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path

from cllora.errors import UsageError


def code_files(file: Path) -> list[Path]:
    """A user's file and, of what it imports, the files in its own folder, in the order in which they are met."""
    files, waiting = [file.resolve()], [file.resolve()]
    while waiting:
        for name in _imported(waiting.pop()):
            place = files[0].parent.joinpath(*name.split("."))
            for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                if candidate.is_file() and candidate not in files:
                    files.append(candidate)
                    waiting.append(candidate)
    return files


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


STUDIES = Path(__file__).parents[1] / "studies"
"""The plug-ins that come with the package, a folder each."""


def load_plugins(files: Iterable[str]) -> None:
    """Run users' own Python files (`load:` in a study), so that what they register can be named.

    Those that come with the package are run before any other.

    Raises:
        UsageError: a file is missing or fails while it is run.
    """
    load_installed()
    for file in files:
        _load(file)


@functools.cache
def load_installed() -> None:
    """Run the plug-ins that come with the package, once; every registry asks for it before it is looked into."""
    for file in sorted(STUDIES.glob("*/__init__.py")):
        _load(str(file))


def _load(file: str) -> None:
    try:
        path = Path(file).expanduser().resolve()
        is_file = path.is_file()
    except (RuntimeError, ValueError, OSError) as error:  # no such user, a NUL, a name too long
        raise UsageError(f"load: there is no file {file} ({error})") from None
    if not is_file:
        raise UsageError(f"load: there is no file {file}")
    own = _importable_as(path)
    # Two files of one name in different folders are two modules.
    name = own or f"cllora_plugin_{path.stem}_{hashlib.sha256(str(path).encode(errors='replace')).hexdigest()[:8]}"
    if Path(getattr(sys.modules.get(name), "__file__", None) or "").resolve() == path:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"load: {file} is not a Python file")
    try:
        if own:
            importlib.import_module(own)
        else:
            _run(spec, spec.loader)
    except (Exception, SystemExit) as error:
        raise UsageError(f"load: {file} failed: {type(error).__name__}: {error}") from error


def _run(spec: ModuleSpec, loader: Loader) -> None:
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


def _importable_as(path: Path) -> str | None:
    """The name under which a file can be imported as part of a package, so that it is not run a second time as a
    module of its own; None where it is in no package, or in one that is not installed."""
    names, folder = ([] if path.stem == "__init__" else [path.stem]), path.parent
    while (folder / "__init__.py").is_file():
        names, folder = [folder.name, *names], folder.parent
    if not (path.parent / "__init__.py").is_file():
        return None
    try:
        spec = importlib.util.find_spec(names[0])
    except (ImportError, ValueError):
        return None
    places = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
    return ".".join(names) if folder / names[0] in places else None
