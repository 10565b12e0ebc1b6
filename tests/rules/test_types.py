"""What types may not say: how often `Any` stands where a type could, and what else there is one place for."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "cllora"

MOST_ANY = {
    "federated": 2,
    "metrics": 4,
    "reports": 22,
    "runs": 5,
    "types": 1,
}
"""How many `Any` a room may have beside those with a reason on their line. They go down: lower a number with them."""
SLACK = 40
"""By how many all rooms together may be below, so that a number that went down is written down."""


def unreasoned(path: Path) -> int:
    """How many `Any` there are in a file on lines without a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Name) and node.id == "Any"]
    return sum("#" not in lines[node.lineno - 1] for node in names)


def test_any_grows_rarer():
    found: dict[str, int] = {}
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        found[room] = found.get(room, 0) + unreasoned(path)
    more = {room: count for room, count in found.items() if count > MOST_ANY.get(room, 0)}
    assert not more, f"more Any without a reason on their line: {more}; MOST_ANY has {MOST_ANY}"
    fewer = {room: found.get(room, 0) for room, most in MOST_ANY.items() if found.get(room, 0) < most}
    assert sum(MOST_ANY[room] - count for room, count in fewer.items()) <= SLACK, f"lower MOST_ANY to {fewer}"


def test_an_array_of_real_numbers_has_one_name():
    defined = [path for path in SOURCE.rglob("*.py") if re.search(r"^Array = ", path.read_text("utf-8"), re.M)]
    assert defined == [SOURCE / "types" / "arrays.py"]


def test_the_operating_system_is_asked_behind_one_door():
    asking = [path for path in SOURCE.rglob("*.py") if re.search(r'"/proc/|\bfcntl\b', path.read_text("utf-8"))]
    assert asking == [SOURCE / "model" / "machine.py"]
