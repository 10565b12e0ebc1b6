"""Docstrings and functions of installed Python packages: real text by many owners that is on every machine.

The packages are read as source by `ast`; none is ever imported.
"""

from __future__ import annotations

import ast
import hashlib
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import PositiveInt

from cllora.corpus.packages import PACKAGES, read_sources, roots_of

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
    return distinct_texts(read_docstrings, packages, min_chars, per_package)


def functions(
    *, packages: Sequence[str] | None = None, min_chars: int = 24, per_package: PositiveInt | None = None
) -> Iterator[dict[str, str]]:
    """Yield the distinct functions of installed packages as source, without docstrings, owner by owner: text that a
    base which knows their docstrings does not know.

    Args, rows and errors are those of `docstrings`.
    """
    return distinct_texts(read_functions, packages, min_chars, per_package)


def distinct_texts(
    read: Callable[[Path, str], Iterator[dict[str, str]]],
    packages: Sequence[str] | None,
    min_chars: int,
    per_package: int | None,
) -> Iterator[dict[str, str]]:
    """Yield what `read` gives of each package's folder, every text once, as `docstrings` does."""
    names = PACKAGES if packages is None else tuple(packages)
    roots = {name: roots_of(name) for name in names}  # all, before the first (slow) read
    seen: set[str] = set()
    for name in names:
        rows = []
        for row in (row for root in roots[name] for row in read(root, name)):
            if len(row["text"]) >= min_chars and row["text"] not in seen:
                seen.add(row["text"])
                rows.append(row)
        yield from rows if per_package is None else _drawn(rows, per_package)


def _drawn(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """`count` of the rows, in their order: those whose text has the smallest hash, which is as good as chance."""
    kept = sorted(range(len(rows)), key=lambda i: hashlib.sha256(rows[i]["text"].encode()).digest())[:count]
    return [rows[i] for i in sorted(kept)]


def read_docstrings(root: Path, owner: str) -> Iterator[dict[str, str]]:
    """Yield every docstring of the modules that `read_sources` finds, in reading order.

    Files that are not Python of this interpreter (templates, other versions' syntax) are left out: they hold no
    docstring that could be read.

    Yields:
        Rows with the keys `text` (as `inspect.cleandoc` leaves it), `owner`, `module` (dotted, starting with `owner`)
        and `kind` ("module", "class" or "function").
    """
    for module, source in read_sources(root, owner):
        tree = _parse(source)
        if tree is None:
            continue
        for node in _documented(tree):
            text = ast.get_docstring(node, clean=True)
            if text and _encodable(text):
                yield {"text": text, "owner": owner, "module": module, "kind": _KINDS[type(node)]}


def read_functions(root: Path, owner: str) -> Iterator[dict[str, str]]:
    """Yield the source of every function of the modules that `read_sources` finds, in reading order: its own lines,
    moved to the left margin, without its docstring. One within another is part of that.

    Rows are as those of `read_docstrings`.
    """
    for module, source in read_sources(root, owner):
        tree, lines = _parse(source), source.splitlines()
        for node in () if tree is None else _outermost(tree):
            text = textwrap.dedent("\n".join(_own_lines(node, lines))).strip()
            if text and _encodable(text):
                yield {"text": text, "owner": owner, "module": module, "kind": "function"}


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions that are in no other, in source order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _outermost(child)


def _own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> list[str]:
    """The lines of a function without those of its docstring."""
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    if ast.get_docstring(node, clean=False) is None or len(node.body) < 2:
        return lines[first:last]
    docstring = node.body[0]
    return [*lines[first : docstring.lineno - 1], *lines[docstring.end_lineno or docstring.lineno : last]]


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes are none of our user's business
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # ValueError: a null byte
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
