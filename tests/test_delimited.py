"""Tables of commas and tabs: what quotes are, headers in the middle, and links among the files."""

import logging
from pathlib import Path

import pytest

from cllora.corpus.files import READERS
from cllora.corpus.listing import list_files
from support.corpus import fails, jsonl, load

HEAD = "id\ttext\n"
TABS: list[tuple[str, list[str]]] = [
    ('1\t"Yes\n2\tplain\n3\tHe said"\n4\tend\n', ['"Yes', "plain", 'He said"', "end"]),
    ('1\t"Yes\n2\tplain\n', ['"Yes', "plain"]),
    ('1\t"quoted" word\n2\tplain\n', ['"quoted" word', "plain"]),
    ('1\t"one ""two"""\n2\tthe "word"\n', ['one "two"', 'the "word"']),
    ('1\t"two\nlines"\n2\t"a\tb"\n', ["two\nlines", "a\tb"]),
]


@pytest.mark.parametrize(("written", "texts"), TABS)
@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_quotes_among_tabs(name: str, written: str, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(HEAD + written)
    assert [row["text"] for row in READERS[name[1:]](tmp_path / name)] == texts


def test_a_quote_that_may_be_open_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "a.csv").write_text('id,text\n1,"Yes\n2,plain\n3,He said"\n4,end\n')
    assert len(list(READERS[".csv"](tmp_path / "a.csv"))) == 2
    assert "a.csv, line 2: a value in quotes goes on over 3 lines" in caplog.text
    caplog.clear()
    (tmp_path / "b.csv").write_text('id,text\n1,"Yes\nplain"\n4,"a, b"\n')
    assert len(list(READERS[".csv"](tmp_path / "b.csv"))) == 2
    assert not caplog.text


@pytest.mark.parametrize("written", ["id,text\n1,a b\nid,text\n2,c d\n", "text\na b\n\ufefftext\nc d\n"])
def test_a_header_in_the_middle_is_refused(written: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(written)
    assert "line 3: the header once more" in fails(tmp_path, path=str(tmp_path / "a.csv"))


def test_two_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeff\ufefftext\na b\n")
    assert list(load(tmp_path, path=str(tmp_path / "a.csv")).texts) == ["a b"]


def test_links_in_circles_and_to_what_is_read(tmp_path: Path) -> None:
    for name in ("a/1.jsonl", "a/b/2.jsonl", "a/b/.c/3.jsonl", "x/4.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        jsonl(tmp_path / name, {"text": "a b"})
    (tmp_path / "a/loop").symlink_to(".")
    (tmp_path / "a/b/up").symlink_to("..")
    (tmp_path / "a/other").symlink_to("../x")
    for pattern in ("a/**/*.jsonl", "**/*.jsonl", "a/**"):
        names = [listed.file.name for listed in list_files([tmp_path / "a" / pattern.removeprefix("a/")], "path")]
        assert sorted(names) == ["1.jsonl", "2.jsonl", "4.jsonl"], pattern
    (tmp_path / "a/link.jsonl").symlink_to("1.jsonl")
    assert "given twice, as it is a link to" in fails(tmp_path / "new", path=f"{tmp_path}/a/*.jsonl")
