"""Docstrings of installed Python packages: real text by many owners that is on every machine.

The packages are read as source by `ast`; none is ever imported.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pydantic import PositiveInt

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
_KINDS: dict[type[ast.AST], str] = {
    ast.Module: "module",
    ast.ClassDef: "class",
    ast.FunctionDef: "function",
    ast.AsyncFunctionDef: "function",
}


def docstrings(
    *, packages: Sequence[str] | None = None, min_chars: int = 24, per_package: PositiveInt | None = None
) -> Iterator[dict[str, str]]:
    """Yield the distinct docstrings of installed packages, owner by owner.

    Args:
        packages: names as one imports them, in the order to read them; default `PACKAGES`.
        min_chars: shorter docstrings are left out.
        per_package: keep at most so many of each package, drawn over the whole of it (those with the smallest hash).

    Yields:
        Rows with the keys `text`, `owner`, `module` and `kind` (see `read_docstrings`). A text that occurs more than
        once, in one package or in several, belongs to the first that has it.

    Raises:
        UsageError: a package is not installed.
    """
    names = PACKAGES if packages is None else tuple(packages)
    roots = {name: _roots(name) for name in names}  # all, before the first (slow) read
    seen: set[str] = set()
    for name in names:
        rows = []
        for row in (row for root in roots[name] for row in read_docstrings(root, name)):
            if len(row["text"]) >= min_chars and row["text"] not in seen:
                seen.add(row["text"])
                rows.append(row)
        yield from rows if per_package is None else _drawn(rows, per_package)


def _drawn(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """`count` of the rows, in their order: those whose text has the smallest hash, which is as good as chance."""
    kept = sorted(range(len(rows)), key=lambda i: hashlib.sha256(rows[i]["text"].encode()).digest())[:count]
    return [rows[i] for i in sorted(kept)]


def fingerprint_of(packages: Sequence[str]) -> str:
    """Return 16 hex digits that name these packages in these versions, in this order.

    Raises:
        UsageError: a package is not installed.
    """
    lines = [f"{name}=={_version(name)}" for name in packages]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read_docstrings(root: Path, owner: str) -> Iterator[dict[str, str]]:
    """Yield every docstring under a package's folder (or of one source file), in sorted order of files.

    Tests and vendored copies of other packages are left out, and so are files that are not Python of this
    interpreter (templates, other versions' syntax, other encodings): they hold no docstring that could be read.

    Yields:
        Rows with the keys `text` (as `inspect.cleandoc` leaves it), `owner`, `module` (dotted, starting with `owner`)
        and `kind` ("module", "class" or "function").
    """
    for path in _sources(root):
        tree = _parse(path)
        if tree is None:
            continue
        module = _dotted(path, root, owner)
        for node in _documented(tree):
            text = ast.get_docstring(node, clean=True)
            if text and _encodable(text):
                yield {"text": text, "owner": owner, "module": module, "kind": _KINDS[type(node)]}


def _roots(package: str) -> list[Path]:
    """Return where a top-level package lies, without importing it (`find_spec` imports only parents)."""
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


def _version(package: str) -> str:
    _roots(package)  # says what is wrong with a name that is nowhere
    names = _distributions().get(package)
    if not names:
        raise UsageError(f"package {package!r} has no version: install it with pip, or leave it out of `packages`")
    return metadata.version(sorted(names)[0])


@cache
def _distributions() -> dict[str, list[str]]:
    return {package: list(names) for package, names in metadata.packages_distributions().items()}


def _sources(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [path for path in sorted(root.rglob("*.py")) if not _left_out(path.relative_to(root))]


def _left_out(path: Path) -> bool:
    folders = {part.lower() for part in path.parts[:-1]}
    is_test = path.name.startswith("test_") or path.stem.endswith("_test") or path.stem == "conftest"
    return is_test or bool(folders & (_TEST_FOLDERS | _VENDORED_FOLDERS))


def _parse(path: Path) -> ast.Module | None:
    try:
        source = path.read_text(encoding="utf-8-sig")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes are none of our user's business
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # ValueError: not UTF-8, or a null byte
        return None


def _documented(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield everything that can carry a docstring, in source order; expressions are not looked into."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _documented(child)


def _encodable(text: str) -> bool:
    """Return whether the text is valid Unicode: an escape such as `\\ud800` in a literal makes one that is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dotted(path: Path, root: Path, owner: str) -> str:
    if path == root:
        return owner
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join((owner, *(parts[:-1] if parts[-1] == "__init__" else parts)))
