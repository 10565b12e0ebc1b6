"""Installed Python packages as sources of text: where they lie, which versions they have, what is in their files.

No package is ever imported.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from cllora.errors import UsageError

PACKAGES: tuple[str, ...] = (
    "numpy",
    "scipy",
    "pandas",
    "sympy",
    "networkx",
    "mpmath",
    "pyarrow",
    "narwhals",
    "datasets",
    "huggingface_hub",
    "peft",
    "accelerate",
    "pydantic",
    "rich",
    "typer",
    "fsspec",
    "jinja2",
)
"""The default owners. All are (transitive) dependencies of cllora, so they are installed wherever it is.

torch and transformers are too, but reading them takes longer than reading all of these.
"""

_TEST_FOLDERS = frozenset({"test", "tests", "_tests"})
_VENDORED_FOLDERS = frozenset(
    {"_vendor", "_vendored", "vendor", "vendored", "extern", "externals", "_external", "_externals", "third_party"}
)


def fingerprint_of(packages: Sequence[str]) -> str:
    """Return 16 hex digits that name these packages in these versions, and as their files are, in this order.

    Of a file its size and the time of its last change are looked at: a package that is edited keeps its version.

    Raises:
        UsageError: a package is not installed.
    """
    lines = [f"{name}=={_version(name)} {_state(name)}" for name in packages]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def roots_of(package: str) -> list[Path]:
    """Return where a top-level package lies, without importing it (`find_spec` imports only parents).

    Raises:
        UsageError: it is not installed, or has no Python source.
    """
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise UsageError(
            f"package {package!r} is not installed: install it, or leave it out of `packages` "
            "(names are as in `import NAME`, without dots)"
        )
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"package {package!r} has no Python source to read: leave it out of `packages`")
    return [Path(spec.origin)]


def read_sources(root: Path, owner: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the source of every module under a package's folder (or of one source file).

    Modules come in reading order, which is the sorted order of files. Tests and vendored copies of other packages are
    left out, and so are files that are not UTF-8.
    """
    for path in _files(root):
        try:
            source = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            continue
        yield _dotted(path, root, owner), source


def _version(package: str) -> str:
    roots_of(package)  # says what is wrong with a name that is nowhere
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)  # Most are called as they are imported; to look through all takes long.
    names = distributions().get(package)
    if not names:
        raise UsageError(f"package {package!r} has no version: install it with pip, or leave it out of `packages`")
    return metadata.version(sorted(names)[0])


def _state(package: str) -> str:
    digest = hashlib.sha256()
    for root in roots_of(package):
        for path in _files(root):
            about = path.stat()
            digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@cache
def distributions() -> dict[str, list[str]]:
    """The names of the distributions that each importable package comes from, looked up once a process."""
    return {package: list(names) for package, names in metadata.packages_distributions().items()}


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    sources = []
    for folder, folders, names in os.walk(root):  # `rglob` makes a path of everything, which takes three times as long.
        folders[:] = [name for name in folders if name.lower() not in _TEST_FOLDERS | _VENDORED_FOLDERS]
        sources += [Path(folder, name) for name in names if name.endswith(".py") and not _is_test(name)]
    return sorted(sources)


def _is_test(file: str) -> bool:
    return file.startswith("test_") or file.endswith("_test.py") or file == "conftest.py"


def _dotted(path: Path, root: Path, owner: str) -> str:
    if path == root:
        return owner
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join((owner, *(parts[:-1] if parts[-1] == "__init__" else parts)))
