"""What types may not say: how often `Any` stands where a type could, and what else there is one place for."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cllora"

MOST_ANY = 60
"""How many `Any` there may be in all. It goes down: lower it with them."""


def anys(path: Path) -> list[tuple[int, bool]]:
    """The line of every `Any` of a file, and whether a comment stands there, which gives the reason."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Name) and node.id == "Any"]
    return [(node.lineno, "#" in lines[node.lineno - 1]) for node in names]


def test_any_has_a_reason_and_grows_rarer():
    every = {path: anys(path) for path in sorted(SOURCE.rglob("*.py"))}
    unexplained = [f"{path.relative_to(SOURCE)}:{line}" for path in every for line, told in every[path] if not told]
    assert unexplained == [], "say on the line why it is Any, or give the type"
    total = sum(map(len, every.values()))
    assert MOST_ANY - 10 < total <= MOST_ANY, f"lower MOST_ANY to {total}"


def test_an_array_of_real_numbers_has_one_name():
    defined = [path for path in SOURCE.rglob("*.py") if re.search(r"^Array = ", path.read_text("utf-8"), re.M)]
    assert defined == [SOURCE / "types" / "arrays.py"]


ONE_SYSTEM = (
    r'"/proc/|\b(fcntl|termios|pwd|grp)\b|\bos\.(fork|kill|killpg|setsid|sched_\w+|sysconf)\b|SIGKILL|import resource\b'
)
"""What only Linux has, or only systems of its kind."""


def test_the_operating_system_is_asked_behind_one_door():
    asking = [path for path in SOURCE.rglob("*.py") if re.search(ONE_SYSTEM, path.read_text("utf-8"))]
    assert asking == [SOURCE / "model" / "machine.py"]


def without_encoding(text: str) -> list[int]:
    """The lines at which a file is read or written as text in whatever encoding the machine has."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            as_text = name in ("read_text", "write_text") or (name == "open" and modes in (["r"], ["w"], ["a"]))
            told = any(keyword.arg == "encoding" for keyword in node.keywords)
            lines += [node.lineno] if as_text and not told else []
    return lines


def test_text_is_read_and_written_as_utf_8_whatever_the_machine_is():
    places = ("src", "scripts", "benchmarks", "examples")
    files = [path for place in places for path in sorted((ROOT / place).rglob("*.py"))]
    assert [f"{path.name}:{line}" for path in files for line in without_encoding(path.read_text("utf-8"))] == []
    assert without_encoding("a.read_text()\nb.open('w')\nc.open('rb')\nd.write_text(e, encoding='utf-8')\n") == [1, 2]
