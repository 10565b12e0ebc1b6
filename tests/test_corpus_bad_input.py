"""What is said about bad input: one line that names the file, the line and the way out."""

import gzip
from pathlib import Path

import pytest

from cllora.corpus.samples import dropped_line
from support.corpus import ROWS, fails, jsonl, write_source

BAD_FILES = [
    ("a.jsonl", b'{"text": "ab"}\n\n{"text": \n', ["a.jsonl, line 3", "broken JSON"]),
    ("a.jsonl", b'{"text": "ab"}\n[1]\n', ["line 2", "not a list"]),
    ("a.jsonl", b'{"text":\n', ["a.jsonl, line 2", "broken JSON", "one JSON object per line"]),
    ("a.jsonl", '{"text": "ab"}\n{"text": "ü"}\n'.encode("latin-1"), ["a.jsonl, line 2", "UTF-8", "convert"]),
    ("a.jsonl", b"", ["no usable rows", "empty"]),
    (
        "a.jsonl",
        b'{"text": " "}\n{"text": 1}\n',
        ["no usable rows: 1 empty (column 'text'), such as ' '; 1 not text (column 'text'), such as 1"],
    ),
    ("a.jsonl", b'{"texts": "ab"}\n', ["no column 'text'", "did you mean 'texts'?"]),
    ("a.jsonl.gz", gzip.compress(b'{"text": "ab"}\n' * 999, mtime=0)[:-30], ["cannot read", "a.jsonl.gz"]),
    ("a.jsonl.gz", b'{"text": "ab"}\n', ["cannot read", "a.jsonl.gz"]),
    ("a.csv", b"text,label\nab,1\n\ncd\n", ["a.csv, line 4: 1 fields, but the header has 2"]),
    ("a.csv", b'text\nab\n"cd\nef\n', ["starts on line 3", "broken CSV"]),
    ("a.csv", b"text,text\nab,cd\n", ["two columns of one name"]),
    ("a.csv", "text\nab\nü\n".encode("latin-1"), ["a.csv, line 3", "UTF-8", "iconv -f cp1252 "]),
    ("a.txt", "it\u2019s \u201cso\u201d\n".encode("cp1252"), ["a.txt, line 1", "iconv -f cp1252 "]),
    ("a.txt", "日本語、はい。\n".encode("shift_jis"), ["is not UTF-8, nor Windows-1252", "iconv -f shift_jis "]),
    (
        "a.txt",
        "naïve\n".encode() + "naïve\n".encode("cp1252"),
        ["line 2", "although characters before it are"],
    ),
    ("a.txt", "naïve\n".encode() + "ï".encode()[:1], ["line 2", "cut short"]),
    ("a.txt", "ab\n".encode("utf-16-be"), ["line 1", "iconv -f utf-16be "]),
    ("a.txt", "ab\n".encode("utf-16-le"), ["line 1", "iconv -f utf-16le "]),
    ("a.txt", "é ab\n".encode("utf-16-le"), ["line 1", "NUL byte", "iconv -f utf-16le "]),
    ("a.txt", "é ab\n".encode("utf-16-be"), ["line 1", "NUL byte", "iconv -f utf-16be "]),
    ("a.csv", b"text\n", ["empty"]),
    ("a.txt", "ab\nü\n".encode("latin-1"), ["a.txt, line 2", "UTF-8"]),
    ("a.parquet", b"PAR1 not really", ["a.parquet is not a Parquet file"]),
    ("a.jsonl", b'{"text": "one two", "o": "a", "\\ud83d": 1}\n', ["1 not valid Unicode (column '\\ud83d')"]),
    ("a.xlsx", b"ab", ["cannot tell what", ".parquet"]),
]


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_bad_files(name: str, content: bytes, said: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = fails(tmp_path, path=str(tmp_path / name))
    assert all(part in message for part in said), message


def test_bad_paths(tmp_path: Path) -> None:
    assert "data.path: there is no file or folder" in fails(tmp_path, path=str(tmp_path / "none.jsonl"))
    assert "data.path: there is no file or folder" in fails(tmp_path, path=str(tmp_path / "*.none"))
    assert "data.split" in fails(tmp_path, path=write_source("csv", tmp_path), split="validation")
    (tmp_path / "folder").mkdir()
    assert "no .txt files" in fails(tmp_path, path=str(tmp_path / "folder"))
    path = jsonl(tmp_path / "a.jsonl", *ROWS)
    assert "data.test: there is no file or folder" in fails(tmp_path, path=path, test="none.jsonl")
    (tmp_path / "folder" / "latin.txt").write_bytes("ab\nü".encode("latin-1"))
    assert "latin.txt, line 2" in fails(tmp_path, path=str(tmp_path / "folder"))
    empty = jsonl(tmp_path / "empty.jsonl")
    assert "empty.jsonl has no usable rows" in fails(tmp_path, path=path, test=empty)
    (tmp_path / "folder" / "state.json").write_text("{}")
    assert "cannot read the dataset" in fails(tmp_path, path=str(tmp_path / "folder"))


@pytest.mark.parametrize("template", ["{q", "{}", "{q!r}", "{n:3}", "{{q}}", "q}"])
def test_broken_templates(template: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"q": "Why", "n": 3})
    assert "data.text" in fails(tmp_path, path=path, text=template)


def test_one_row_is_one_row() -> None:
    reasons = {"empty (column 'text')": 1}
    assert dropped_line(reasons, {}) == "1 row cannot be used and was dropped: 1 empty (column 'text')"
    assert dropped_line({"empty (column 'text')": 1200}, {}).startswith("1,200 rows cannot be used and were dropped: ")
