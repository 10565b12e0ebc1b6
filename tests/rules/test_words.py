"""The house rules on language: a name says what it holds, and a docstring begins with what it describes."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cllora"
FILES = sorted(SOURCE.rglob("*.py"))
PROGRAMS = [path for place in ("benchmarks", "examples", "scripts") for path in sorted((ROOT / place).rglob("*.py"))]

NO_NAMES = frozenset(
    {"found", "each", "it", "of", "said", "known", "told", "that", "those", "these", "this", "them", "they", "what"}
    | {"which", "whose", "who", "one", "there", "here", "some"}
)
"""Pronouns, particles and participles that say nothing of the value."""

OPTIONS = {("src/cllora/corpus/long_texts.py", "of")}
"""Options that studies are written with: another name would be another experiment."""

NO_BEGINNINGS = frozenset(
    {"What", "How", "Whatever", "Whoever", "Those", "It", "That", "Where", "When", "Which", "Who", "Whom", "Whose"}
    | {"Why", "Of", "For", "From", "By", "As", "Some", "Something", "Nothing"}
)
"""First words after which a reader waits for what is described. `Whether` begins what is true or false."""

NO_IMPERATIVES = frozenset(
    {"Adds", "Appends", "Brings", "Checks", "Compares", "Computes", "Counts", "Formats", "Gives", "Holds", "Judges"}
    | {"Keeps", "Makes", "Measures", "Raises", "Reads", "Returns", "Runs", "Trains", "Writes", "Decorator"}
)
"""First words of a function's docstring in place of which `Add`, `Append`, ... is written; a class may `hold`."""


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every variable, argument, attribute and function that a file names, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """The line and the first paragraph of every docstring, those of constants too, and whether it is a function's."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                is_function = isinstance(node, ast.FunctionDef) and statement is node.body[0]
                yield statement.lineno, " ".join(value.value.split("\n\n")[0].split()), is_function


def test_a_name_says_what_it_holds():
    faults = []
    for path in [*FILES, *PROGRAMS]:
        file = path.relative_to(ROOT).as_posix()
        for line, name in names_in(ast.parse(path.read_text(encoding="utf-8"))):
            if name.strip("_") in NO_NAMES and (file, name) not in OPTIONS:
                faults.append(f"{file}:{line} {name}")
    assert not faults


def test_a_docstring_begins_with_what_it_describes():
    """A noun phrase for a value, an imperative for an act; presets ask a question."""
    faults = []
    for path in FILES:
        for line, paragraph, is_function in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            word = paragraph.split()[0].rstrip(",:")
            wrong = word in NO_BEGINNINGS or (is_function and word in NO_IMPERATIVES)
            if wrong and "?" not in paragraph:
                faults.append(f"{path.relative_to(SOURCE)}:{line} {word}")
    assert not faults
