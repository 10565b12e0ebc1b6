"""The house rules that can be read off the source: which room may know which, and how long things may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "cllora"

# From the ground up. A room may import rooms of lower rows, never of its own row or above.
ROWS = [
    {"errors"},
    {"registry", "seeds", "places"},
    {"spec", "types"},
    {"corpus", "presets"},
    {"partition", "model", "store"},
    {"metrics"},
    {"federated", "measure"},
    {"runs", "reports"},
    {"progress", "door", "catalog"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {room: height for height, row in enumerate(ROWS) for room in row}
TORCH_ROOMS = {"model", "runs"}
HEAVY = {"torch", "transformers", "peft"}
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
EMPTY_NAMES = {"utils", "util", "helpers", "base", "common", "manager", "misc"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Every module named in an import, inside functions too, but not for type checkers alone."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way_only(path):
    room = room_of(path)
    if room == "__init__":
        return  # The front door may show every room; it loads none until asked.
    assert room in HEIGHT, f"{room} has no row: add it to ROWS and to docs/design.md"
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "cllora" and len(parts) > 1 and parts[1] != room:
            assert parts[1] in HEIGHT, f"{path.name} imports {name}: say which room it is from"
            assert HEIGHT[parts[1]] < HEIGHT[room], f"{room} must not import {name}"
        if parts[0] in HEAVY:
            assert room in TORCH_ROOMS, f"{room} must not import {parts[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_can_be_read_in_one_sitting(path):
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    assert path.stem not in EMPTY_NAMES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def test_the_rule_sees_a_wrong_import():
    assert imported(ast.parse("def f():\n    from cllora.cli import main")) == {"cllora.cli", "cllora.cli.main"}
    assert imported(ast.parse("if TYPE_CHECKING:\n    import torch")) == set()


@pytest.mark.parametrize(
    "what", ["import cllora", "from cllora.cli import main; import sys; sys.argv[1:] = ['--help']; main()"]
)
def test_the_front_door_is_light(what):
    code = (
        "import sys\n"
        f"try:\n    exec({what!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'pandas', 'plotly', 'scipy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_list_of_what_there_is_loads_no_statistics():
    """`scipy.stats` takes seconds, and is for bootstrap intervals alone."""
    code = "import sys; from cllora.catalog import registries; registries(); assert 'scipy.stats' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
