from pathlib import Path

import pytest

from cllora.corpus.docstrings import docstrings, read_docstrings
from cllora.corpus.packages import PACKAGES, fingerprint_of
from cllora.errors import UsageError
from support.fixtures import MakePackage


def test_rows_say_what_was_documented_and_where(make_package: MakePackage) -> None:
    source = '''
"""About the module."""

try:
    class Shape:
        """A shape.

            Indented.
        Not.
        """
        async def area(self):
            """Return the area."""
except ImportError:
    def area():
        "Fall back."
        return "not a docstring"
'''
    root = make_package("made_up_rows", {"__init__.py": '"""The package."""', "deep/shapes.py": source})
    rows = list(read_docstrings(root, "made_up_rows"))
    assert [(row["text"], row["module"], row["kind"]) for row in rows] == [
        ("The package.", "made_up_rows", "module"),
        ("About the module.", "made_up_rows.deep.shapes", "module"),
        ("A shape.\n\n    Indented.\nNot.", "made_up_rows.deep.shapes", "class"),
        ("Return the area.", "made_up_rows.deep.shapes", "function"),
        ("Fall back.", "made_up_rows.deep.shapes", "function"),
    ]
    assert {row["owner"] for row in rows} == {"made_up_rows"}


def test_files_come_in_sorted_order_without_tests_and_vendored_copies(make_package: MakePackage) -> None:
    names = ["b.py", "a/z.py", "a/b.py", "tests/a.py", "test_a.py", "_vendor/other.py", "externals/other.py"]
    root = make_package("made_up_order", {name: f'"""{name}"""' for name in names})
    assert [row["text"] for row in read_docstrings(root, "made_up_order")] == ["a/b.py", "a/z.py", "b.py"]


@pytest.mark.parametrize(
    "unreadable", [b"\xff\xfe'''latin'''", b"'''template''' {{ name }} def", b"'''null'''\0", b"'''lone \\ud800'''"]
)
def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    make_package: MakePackage, unreadable: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    root = make_package("made_up_broken", {"a.py": unreadable, "b.py": r"'''read''' ; x = '\d'"})
    assert [row["text"] for row in read_docstrings(root, "made_up_broken")] == ["read"]
    assert not recwarn.list


def test_nothing_is_imported(make_package: MakePackage) -> None:
    make_package("made_up_trap", {"__init__.py": '"""A package that must not be run."""\nraise SystemExit'})
    assert len(list(docstrings(packages=["made_up_trap"]))) == 1


def test_a_text_belongs_to_the_first_that_has_it(make_package: MakePackage) -> None:
    shared = '"""This text is in both of the packages."""'
    make_package("made_up_one", {"a.py": shared, "b.py": shared})
    make_package(
        "made_up_two", {"a.py": shared, "b.py": '"""This text is in the second only."""', "c.py": '"""Short."""'}
    )
    rows = list(docstrings(packages=["made_up_one", "made_up_two"]))
    assert [(row["owner"], row["module"]) for row in rows] == [
        ("made_up_one", "made_up_one.a"),
        ("made_up_two", "made_up_two.b"),
    ]
    assert len(list(docstrings(packages=["made_up_two"], min_chars=6))) == 3


def test_a_package_of_one_file_is_read(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("made_up_neighbour", {})
    (tmp_path / "made_up_file.py").write_text('"""All of a package in one file."""')
    (row,) = docstrings(packages=["made_up_file"])
    assert (row["module"], row["kind"]) == ("made_up_file", "module")


def test_the_same_packages_give_the_same_rows() -> None:
    first = list(docstrings(packages=["rich", "jinja2"]))
    assert first == list(docstrings(packages=["rich", "jinja2"]))
    assert len(first) > 500
    lengths = sorted(len(row["text"]) for row in first)
    assert lengths[-1] > 50 * lengths[0]


@pytest.mark.parametrize("name", ["made_up_nowhere", "rich.console", "sys"])
def test_what_cannot_be_read_is_refused_before_anything_is(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.*packages"):
        next(docstrings(packages=["rich", name]))


def test_the_fingerprint_knows_names_and_versions(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("made_up_x", {}, version="1.0")
    make_package("made_up_y", {}, version="1.0")
    prints = [fingerprint_of(names) for names in (["made_up_x"], ["made_up_y"], ["made_up_x", "made_up_y"])]
    assert len(set(prints)) == 3
    before, metadata = prints[0], tmp_path / "made_up_x-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert fingerprint_of(["made_up_x"]) != before


def test_all_default_packages_are_installed() -> None:
    assert len(fingerprint_of(PACKAGES)) == 16


def test_per_package_draws_over_the_whole_package_in_order():
    everything = list(docstrings(packages=["rich", "typer"]))
    few = list(docstrings(packages=["rich", "typer"], per_package=50))
    assert [row["owner"] for row in few].count("rich") == 50
    assert [row for row in everything if row in few] == few
    assert len({row["module"] for row in few}) > 20
