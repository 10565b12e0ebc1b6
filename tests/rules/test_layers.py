"""The house rules that can be read off the source: which room may know which, and how long things may be."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "cllora"
TESTS = Path(__file__).parents[1]

# From the ground up. A room may import rooms of lower rows, never of its own row or above.
ROWS = [
    {"errors"},
    {"registry", "seeds", "places", "stats"},
    {"spec", "types"},
    {"corpus", "presets"},
    {"partition", "model", "store"},
    {"metrics"},
    {"federated", "analysis", "probes"},
    {"claims"},
    {"runs", "reports"},
    {"studies"},
    {"progress", "door", "catalog", "printing"},
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


@functools.cache
def parsed(text: str) -> ast.Module:
    """The tree of a file, made once for all rules."""
    return ast.parse(text)


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


def wrong_imports(path: Path) -> list[str]:
    """What a file imports and must not, a line each."""
    room = room_of(path)
    if room == "__init__":
        return []  # The front door may show every room; it loads none until asked.
    if room not in HEIGHT:
        return [f"{room} has no row: add it to ROWS and to docs/design.md"]
    faults = []
    for name in imported(parsed(path.read_text())):
        top, other, *_ = [*name.split("."), room]
        if top == "cllora" and other not in HEIGHT:
            faults.append(f"{path.relative_to(SOURCE)} imports {name}: say which room it is from")
        elif top == "cllora" and other != room and HEIGHT[other] >= HEIGHT[room]:
            faults.append(f"{path.relative_to(SOURCE)} must not import {name}")
        if top in HEAVY and room not in TORCH_ROOMS:
            faults.append(f"{path.relative_to(SOURCE)} must not import {top}")
    return faults


def of_studies(path: Path) -> list[str]:
    """What a general file says of a study of a paper: an import of one, or a name that one defines."""
    if room_of(path) == "studies":
        return []
    tree, name, studies = parsed(path.read_text(encoding="utf-8")), path.relative_to(SOURCE), folders()
    faults = [
        f"{name} imports {module}" for module in sorted(imported(tree)) if f"{module}.".startswith("cllora.studies.")
    ]
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    faults += [f"{name} names {word}" for word in sorted(names_of_studies() & used)]
    return faults + [f"{name} names {text}" for text in texts if "cllora.studies" in text or text in studies]


def folders() -> set[str]:
    """What the studies are called."""
    return {path.name for path in (SOURCE / "studies").iterdir() if (path / "__init__.py").is_file()}


@functools.cache
def names_of_studies() -> frozenset[str]:
    """The constants that files of studies define, but those that other rooms define for themselves."""
    constants = {True: set[str](), False: set[str]()}
    for path in FILES:
        for node in parsed(path.read_text(encoding="utf-8")).body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            names = {node.id for one in targets if one for node in ast.walk(one) if isinstance(node, ast.Name)}
            constants[room_of(path) == "studies"] |= {name for name in names if name.isupper()}
    return frozenset(constants[True] - constants[False])


def too_long(path: Path) -> list[str]:
    """What of a file cannot be read in one sitting, or has a name that says nothing."""
    text, name = path.read_text(), path.relative_to(SOURCE)
    lines = text.count("\n")
    faults = [f"{name} has {lines} lines"] * (lines > MAX_FILE_LINES)
    faults += [f"{name}: the name says nothing"] * (path.stem in EMPTY_NAMES)
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            faults += [f"{name}: {node.name} has {length} lines"] * (length > MAX_FUNCTION_LINES)
    return faults


def test_imports_go_one_way_only():
    assert len(FILES) > 100
    assert [fault for path in FILES for fault in wrong_imports(path)] == []


def test_nothing_general_knows_a_study_of_a_paper(tmp_path, monkeypatch):
    """The proof that what a plug-in can do is enough: those of papers are loaded as anybody's file is."""
    assert {"cllora_paper", "longlora"} <= folders()
    assert {"STAND_INS", "PAPER_RANK", "ALPHAS"} <= names_of_studies()
    assert [fault for path in FILES for fault in of_studies(path)] == []
    file = SOURCE / "reports" / "made_up.py"
    wrong = "from cllora.studies.cllora_paper import claims\nRANK = PAPER_RANK\nname = 'longlora'\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: wrong)
    assert of_studies(file) == [
        "reports/made_up.py imports cllora.studies.cllora_paper",
        "reports/made_up.py imports cllora.studies.cllora_paper.claims",
        "reports/made_up.py names PAPER_RANK",
        "reports/made_up.py names longlora",
    ]


def not_of_stats(path: Path) -> list[str]:
    """What a file of `stats` imports beside NumPy, SciPy, the standard library and its own room."""
    allowed = {"numpy", "scipy", "cllora.stats", *sys.stdlib_module_names}
    names = {
        ".".join(name.split(".")[: 2 if name.startswith("cllora") else 1])
        for name in imported(ast.parse(path.read_text()))
    }
    return [f"{path.name} imports {name}" for name in sorted(names - allowed - {"cllora"})]


def test_statistics_know_nothing_of_cllora(tmp_path):
    files = sorted((SOURCE / "stats").glob("*.py"))
    assert len(files) > 3
    assert [fault for path in files for fault in not_of_stats(path)] == []
    (tmp_path / "more.py").write_text(
        "import math\nimport pandas\nfrom cllora.seeds import rng\nfrom cllora.stats import holm\n"
    )
    assert not_of_stats(tmp_path / "more.py") == ["more.py imports cllora.seeds", "more.py imports pandas"]


def past_results(path: Path) -> list[str]:
    """What a file of the report, or the findings, takes of a run in another way than from `cllora.results`."""
    text, names = path.read_text(encoding="utf-8"), imported(ast.parse(path.read_text(encoding="utf-8")))
    faults = [f"{path.name} reads {word}" for word in re.findall(r"\bread_(?!text|csv)\w+|\.parquet|\.jsonl", text)]
    return faults + [f"{path.name} imports {name}" for name in sorted(names) if name.startswith("cllora.store.")]


def test_reports_and_findings_take_all_numbers_from_the_results(tmp_path):
    findings = TESTS.parent / "scripts" / "findings.py"
    assert [fault for path in (SOURCE / "reports").rglob("*.py") for fault in past_results(path)] == []
    assert past_results(findings) == []
    assert not any(name.startswith("cllora.reports") for name in imported(ast.parse(findings.read_text("utf-8"))))
    (tmp_path / "own.py").write_text("from cllora.store import read_rounds\nlosses = 'losses.parquet'\n")
    assert past_results(tmp_path / "own.py") == [
        "own.py reads read_rounds",
        "own.py reads .parquet",
        "own.py imports cllora.store.read_rounds",
    ]


def test_files_and_functions_can_be_read_in_one_sitting():
    assert [fault for path in FILES for fault in too_long(path)] == []


def test_tests_share_through_support_alone():
    """A test file, or conftest, that others import from cannot be changed or removed by itself."""
    files = sorted(TESTS.rglob("*.py"))
    names = {path.stem for path in files if path.stem.startswith("test_")} | {"conftest"}
    assert [
        f"{path.name} imports from {name}: move it to tests/support"
        for path in files
        for name in imported(ast.parse(path.read_text()))
        if name.split(".")[0] in names
    ] == []


def test_the_rule_sees_a_wrong_import():
    assert imported(ast.parse("def f():\n    from cllora.cli import main")) == {"cllora.cli", "cllora.cli.main"}
    assert imported(ast.parse("if TYPE_CHECKING:\n    import torch")) == set()


def test_the_rules_see_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "utils.py").write_text("import torch\nfrom cllora import cli, nowhere, seeds\n" + "\n" * 300)
    (tmp_path / "elsewhere.py").write_text("def long():\n" + "    pass\n" * 60)
    assert wrong_imports(tmp_path / "elsewhere.py") == ["elsewhere has no row: add it to ROWS and to docs/design.md"]
    assert too_long(tmp_path / "elsewhere.py") == ["elsewhere.py: long has 61 lines"]
    said = [line.removeprefix("claims/utils.py ") for line in sorted(wrong_imports(tmp_path / "claims" / "utils.py"))]
    assert said == [
        "imports cllora.nowhere: say which room it is from",
        "must not import cllora.cli",
        "must not import torch",
    ]
    assert [line.partition("utils.py")[2] for line in too_long(tmp_path / "claims" / "utils.py")] == [
        " has 302 lines",
        ": the name says nothing",
    ]


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
    code = (
        "import sys; from cllora.catalog import registries\n"
        "for registry in registries().values(): registry.names()\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
