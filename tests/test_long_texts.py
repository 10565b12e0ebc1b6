from pathlib import Path

import pytest

from cllora.corpus import load_samples
from cllora.corpus.docstrings import docstrings
from cllora.corpus.long_texts import long_texts
from cllora.errors import UsageError
from cllora.spec import DataSpec
from support.corpus import ByteTokenizer
from support.fixtures import MakePackage


def said(name: str, chars: int = 100) -> str:
    return f"{name} ".ljust(chars, ".")


def files(**sizes: int) -> dict[str, str]:
    """Sources by path (`a__b` is a/b.py), each with docstrings of 100 characters, as many as asked for."""
    found = {}
    for name, count in sizes.items():
        functions = (f'\n\n\ndef f{i}():\n    """{said(f"{name} {i}")}"""' for i in range(1, count))
        found[name.replace("__", "/") + ".py"] = f'"""{said(f"{name} 0")}"""' + "".join(functions) + "\n"
    return found


def spans(name: str, min_chars: int, max_chars: int, **options: str) -> list[tuple[str, str, int]]:
    """First and last module of each text, and how many docstrings it has."""
    rows = long_texts(packages=[name], min_chars=min_chars, max_chars=max_chars, **options)
    return [(row["first"], row["last"], row["text"].count(" .")) for row in rows]


def test_docstrings_are_joined_in_reading_order(make_package: MakePackage) -> None:
    documented = {"b.py": "third", "a/z.py": "second", "__init__.py": "first"}
    make_package("made_up_long", {path: f'"""{said(text)}"""' for path, text in documented.items()})
    (row,) = long_texts(packages=["made_up_long"], min_chars=300, max_chars=400)
    assert row == {
        "text": "\n\n".join([said("first"), said("second"), said("third")]),
        "owner": "made_up_long",
        "first": "made_up_long",
        "last": "made_up_long.b",
    }


def test_a_text_ends_with_a_subpackage_once_it_is_long_enough(make_package: MakePackage) -> None:
    make_package("made_up_ends", files(a__x=2, a__y=2, b__x=1, c__x=1, d=3))
    assert spans("made_up_ends", 300, 10_000) == [
        ("made_up_ends.a.x", "made_up_ends.a.y", 4),
        ("made_up_ends.b.x", "made_up_ends.d", 5),
    ]


def test_a_subpackage_too_long_is_cut_between_modules_and_a_module_between_docstrings(
    make_package: MakePackage,
) -> None:
    make_package("made_up_cuts", files(a__x=3, a__y=3, a__z=7))
    module = "made_up_cuts.a."
    assert spans("made_up_cuts", 200, 520) == [
        (module + "x", module + "x", 3),
        (module + "y", module + "y", 3),
        (module + "z", module + "z", 5),
        (module + "z", module + "z", 2),
    ]


def test_what_is_too_short_or_too_long_alone_is_left_out(make_package: MakePackage) -> None:
    make_package("made_up_rest", {"a.py": f'"""{said("whole", 900)}"""', **files(b=4, c=1)})
    assert spans("made_up_rest", 300, 500) == [("made_up_rest.b", "made_up_rest.b", 4)]


def test_a_text_keeps_to_its_bounds_and_nothing_is_in_two() -> None:
    least, most = 5_000, 20_000
    rows = list(long_texts(packages=["typer", "jinja2"], min_chars=least, max_chars=most))
    assert rows == list(long_texts(packages=["typer", "jinja2"], min_chars=least, max_chars=most))
    assert {row["owner"] for row in rows} == {"typer", "jinja2"}
    assert all(least <= len(row["text"]) <= most for row in rows)
    whole = "\n\n".join(row["text"] for row in rows)
    parts = [row["text"] for row in docstrings(packages=["typer", "jinja2"])]
    assert len(whole) > 0.9 * sum(map(len, parts))
    at = [whole.find(part) for part in parts if len(part) > 200]
    found = [place for place in at if place >= 0]
    assert found == sorted(found)


def test_a_docstring_that_occurred_before_is_left_out(make_package: MakePackage) -> None:
    make_package("made_up_before", files(a=3))
    make_package("made_up_after", {"copy.py": files(a=3)["a.py"], **files(b=2)})
    options = {"min_chars": 100, "max_chars": 1000}
    both = list(long_texts(packages=["made_up_before", "made_up_after"], **options))
    assert [(row["owner"], row["first"], row["last"]) for row in both] == [
        ("made_up_before", "made_up_before.a", "made_up_before.a"),
        ("made_up_after", "made_up_after.b", "made_up_after.b"),
    ]
    assert [row["last"] for row in long_texts(packages=["made_up_after"], **options)] == [
        "made_up_after.b",
        "made_up_after.copy",
    ]


def test_sources_are_read_whole_and_cut_between_definitions(make_package: MakePackage) -> None:
    sources = files(a=3, b=3)
    make_package("made_up_code", {**sources, "copy.py": sources["a.py"]})
    options = {"packages": ["made_up_code"], "of": "sources", "min_chars": 500}
    (row,) = long_texts(**options, max_chars=10_000)
    assert row["text"] == "\n\n\n".join(sources[name].strip() for name in ("a.py", "b.py"))
    cut = list(long_texts(**{**options, "min_chars": 100}, max_chars=300))
    assert [row["text"].count("def ") for row in cut] == [1, 1, 1, 1]
    assert all(row["text"].startswith(('"""', "def ")) for row in cut)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="min_chars is 20, above max_chars, 10"):
        next(long_texts(packages=["typer"], min_chars=20, max_chars=10))
    for of in ("docstrings", "sources"):
        with pytest.raises(UsageError, match=r"made_up_nowhere.*packages"):
            next(long_texts(packages=["typer", "made_up_nowhere"], of=of))


def test_it_is_read_once_for_the_same_versions(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("made_up_kept", files(a=5), version="1.0")
    choice = {"name": "long_texts", "packages": ["made_up_kept"], "min_chars": 100, "max_chars": 1000}

    def tokenised(**changed: object) -> bool:
        tokenizer = ByteTokenizer()
        data = DataSpec.model_validate({"corpus": {**choice, **changed}})
        samples = load_samples(data, tokenizer, cache=tmp_path / "cache")
        assert set(samples.columns) == {"owner", "first", "last"}
        return tokenizer.calls > 0

    assert tokenised()
    assert not tokenised()
    assert tokenised(max_chars=900)
    metadata = tmp_path / "made_up_kept-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert tokenised()
