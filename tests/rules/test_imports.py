"""Programs that no test runs still import what there is: benchmarks, scripts, examples."""

import ast
import importlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = [path for place in ("benchmarks", "scripts", "examples") for path in sorted((ROOT / place).rglob("*.py"))]


def missing(path: Path) -> list[str]:
    """What a file imports from cllora that is not there."""
    return [
        f"{path.relative_to(ROOT)}, line {node.lineno}: {node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cllora"
        for alias in node.names
        if not is_there(str(node.module), alias.name)
    ]


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def test_what_programs_import_is_there():
    assert [line for path in PROGRAMS for line in missing(path)] == []


def test_what_is_not_there_is_seen():
    assert is_there("cllora.spec", "Study")
    assert is_there("cllora", "spec")
    assert not is_there("cllora.spec", "Studies")
    assert not is_there("cllora.runs.shared", "samples_of")
