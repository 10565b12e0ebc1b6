"""No test knows what is private in the package: what it shows, a user can see too."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
OWN = {"self", "cls"}
PRIVATE = re.compile(r"_[A-Za-z]\w*")


def privates(text: str) -> list[str]:
    """What a test takes that is private: a name that it imports from the package, an attribute, or a name that it
    gives to `setattr` and the like."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cllora":
            names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            names += [] if ast.unparse(node).startswith("torch.") else [node.attr]
        elif isinstance(node, ast.Call) and "attr" in ast.unparse(node.func):
            names += [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return [name for name in names if PRIVATE.fullmatch(name.rpartition(".")[2])]


def test_no_test_knows_what_is_private():
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 90
    assert [f"{path.name}: {name}" for path in files for name in privates(path.read_text(encoding="utf-8"))] == []


def test_the_rule_sees_what_is_private():
    text = "from cllora.runs import _a\nx._b\nself._c\nx.__dict__\ntorch.ops._d\npatch.setattr(x, '_e', 1)\nf('_g')\n"
    assert privates(text) == ["_a", "_b", "_e"]
