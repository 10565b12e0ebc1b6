"""Files as people have them: how they are written, where they lie, and what is said of those that are broken."""

import gzip
import json
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cllora.corpus import load_samples
from cllora.errors import UsageError
from cllora.runs.inspect import inspect
from cllora.spec import DataSpec, Experiment, Study
from support.corpus import ROWS, ByteTokenizer, fails, jsonl, load
from support.fixtures import refused

TEXTS = [row["text"] for row in ROWS]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS)
PRETTY = json.dumps(ROWS, indent=4, ensure_ascii=False)
TABLE = "text{0}label\none{0}1\nzwei ü{0}2\n"

CONTENTS: list[tuple[str, bytes]] = [
    ("a.json", ARRAY.encode()),
    ("a.json", PRETTY.encode("utf-8-sig")),
    ("a.json", PRETTY.encode("utf-16")),
    ("a.json", PRETTY.encode("utf-32")),
    ("a.jsonl", ARRAY.encode()),
    ("a.json", "\n\n".join(json.dumps(row, indent=2) for row in ROWS).encode()),
    ("a.json", "".join(json.dumps(row) for row in ROWS).encode()),
    ("a.json", (ARRAY[:-1] + "]").replace("},", "}\n,\n").encode()),
    ("a.json", f"{json.dumps(ROWS[:1])}\n{json.dumps(ROWS[1:])}".encode()),
    ("a.json", json.dumps({"text": TEXTS, "label": [1, 2]}).encode()),
    ("a.jsonl", LINES.replace("\n", "\r\n").encode()),
    ("a.jsonl", LINES.replace("\n", "\r").encode()),
    ("a.ndjson", LINES.encode()),
    ("a.csv", LINES.encode()),
    ("a", LINES.encode()),
    ("a.data", PRETTY.encode()),
    ("a.parquet", LINES.encode()),
    ("a.jsonl", gzip.compress(LINES.encode())),
    ("a.jsonl.gz", zstandard.compress(LINES.encode())),
    ("a.csv", gzip.compress(TABLE.format(",").encode())),
    ("a.jsonl.zst", b"".join(zstandard.compress(line.encode()) for line in LINES.splitlines(True))),
    ("a.jsonl.zst", b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(LINES.encode())),
    ("a.json.xz", __import__("lzma").compress(PRETTY.encode())),
    ("a.tsv", TABLE.format("\t").encode()),
    ("a.tsv", TABLE.format(",").encode()),
    ("a.csv", TABLE.format("\t").encode()),
    ("a.csv", TABLE.format(";").encode("utf-16-le").join([b"\xff\xfe", b""])),
    ("a.csv", TABLE.format(";").encode("utf-16-be").join([b"\xfe\xff", b""])),
    ("a.csv", TABLE.format("|").encode("utf-8-sig")),
    ("a.csv", ("sep=;\r\n" + TABLE.format(";")).encode("utf-8-sig")),
    ("a.csv", ("sep=^\n" + TABLE.format("^")).encode()),
    ("a.csv", TABLE.format(",").replace("\n", "\r").encode()),
    ("a.csv", b'"text";"a, label"\n"one";"1"\n' + '"zwei ü";"2, and; more"\n'.encode()),
    ("a.csv", b",text,label,,\n0,one,1,,\n" + "1,zwei ü,2,,\n\n".encode()),
    ("a.txt", b"one\rzwei \xc3\xbc\r"),
    ("a.txt", "one\r\nzwei ü".encode("utf-16")),
]


@pytest.mark.parametrize(("name", "content"), CONTENTS)
def test_a_file_however_it_is_written(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    samples = load(tmp_path, path=str(tmp_path / name))
    assert list(samples.texts) == TEXTS
    if "label" in samples.columns:
        assert [str(label) for label in samples.columns["label"]] == ["1", "2"]


def test_mac_rows_with_newlines_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\r"one\ntwo",1\rthree,2\r')
    assert list(load(tmp_path, path=str(tmp_path / "a.csv")).texts) == ["one\ntwo", "three"]


def test_long_arrays_are_read_piece_by_piece(tmp_path: Path) -> None:
    rows = [{"text": f'{i} " \\ ü\n' + "x" * (i % 977), "in": {"n": [i]}} for i in range(5000)]
    rows[3]["text"] = "y" * 300_000
    for number, written in enumerate((json.dumps(rows), json.dumps(rows, indent=1, ensure_ascii=False))):
        (tmp_path / f"{number}.json").write_text(written)
        assert list(load(tmp_path, path=str(tmp_path / f"{number}.json")).texts) == [row["text"] for row in rows]


LEAF = {
    "users": ["ann", "bob"],
    "num_samples": [2, 1],
    "user_data": {"ann": {"x": ["a b", "c d"], "y": [1, 0]}, "bob": {"x": ["e f"], "y": [1]}},
}
BY_OWNER: list[tuple[Any, dict[str, Any]]] = [
    ({"ann": ["a b", "c d"], "bob": ["e f"], "eve": []}, {}),
    ({"ann": ["a b", "c d"], "bob": ["e f", "g h"]}, {}),
    ({"users": {"ann": ["a b", "c d"], "bob": ["e f", "g h"]}}, {}),
    ({"ann": [{"text": "a b"}, {"text": "c d"}], "bob": [{"text": "e f", "more": 1}]}, {}),
    ({"ann": {"body": ["a b", "c d"]}, "bob": {"body": ["e f"]}}, {"text": "body"}),
    (LEAF, {"text": "x"}),
]


@pytest.mark.parametrize(("written", "fields"), BY_OWNER)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_per_owner(written: Any, fields: dict[str, Any], indent: int | None, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(written, indent=indent))
    samples = load(tmp_path, path=str(file), **fields)
    assert list(samples.columns["owner"])[:3] == ["ann", "ann", "bob"]
    assert list(samples.texts)[:3] == ["a b", "c d", "e f"]
    assert inspect([file], column="owner", **fields).names == ("ann", "bob")


def test_one_object_is_one_row_unless_it_has_lists_alone(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]
    for row in ({"text": "one two", "tags": ["a"]}, {"text": "one two", "meta": {"ids": [1]}}):
        (tmp_path / "a.json").write_text(json.dumps(row, indent=1))
        assert list(load(tmp_path, path=str(tmp_path / "a.json")).texts) == ["one two"]
    (tmp_path / "b.json").write_text(json.dumps({"messages": turns}))
    assert "holds chats (column 'messages')" in fails(tmp_path / "new", path=str(tmp_path / "b.json"))
    jsonl(tmp_path / "c.jsonl", {"ann": ["a b"]})
    assert "choices: ann" in fails(tmp_path / "new", path=str(tmp_path / "c.jsonl"))


BROKEN = [
    ("a.json", b'[{"text": "ab"},\n{"text": cd}]', ["a.json, line 2", "broken JSON"]),
    ("a.json", b'[{"text": "ab"}\n{"text": "cd"}]', ["a.json, line 2", "','"]),
    ("a.json", b'[{"text": "ab"},\n 7]', ["line 2", "not a int"]),
    ("a.json", b'[{"text": "ab"},\n{"text": "cd', ["line 2", "broken JSON"]),
    ("a.json", b'[{"text": "ab"}', ["no end"]),
    ("a.json", b'{"ann": ["a b"],\n "ann": ["c d"]}', ["'ann' twice"]),
    ("a.jsonl", b'{"text": "ab"}\n{"text": "ab", "text": "cd"}', ["line 2", "'text' twice"]),
    ("a.json", b"[" * 100_000, ["a.json, line 1", "broken JSON"]),
    ("a.jsonl", '{"text": "ab"}\n'.encode("utf-16-le"), ["line 1", "NUL byte", "UTF-16"]),
    ("a.csv", b"text,n\nab,1\nc\0d,2\n", ["a.csv, line 3", "NUL byte"]),
    ("a.txt", "ab\ncd\n".encode("utf-16-le"), ["line 1", "NUL byte"]),
    ("a.txt", b"\xff\xfea\0b\0\n\0\x00\xd8\n\0", ["line 2", "utf-16"]),
    ("a.jsonl.zst", zstandard.compress(b'{"text": "ab"}\n' * 999)[:-9], ["cannot read", "cut short"]),
    ("a.jsonl.zst", b'{"text": "ab"}\n', ["cannot read", ".zst"]),
    ("a.jsonl.xz", b'{"text": "ab"}\n', ["cannot read", ".xz"]),
    ("a.parquet.gz", gzip.compress(b"PAR1"), ["decompress"]),
    ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", ["git lfs pull"]),
    ("a.csv", b"\n<!DOCTYPE html>\n<p>Not found", ["HTML", "not CSV"]),
    ("a.jsonl", b"<html>", ["HTML"]),
    ("a.txt", b"{\\rtf1 hello", ["RTF"]),
    ("a.txt", b"%PDF-1.7 hello", ["PDF"]),
    ("a.arrow", b"ARROW1 not really", ["not an Arrow file"]),
    ("a.csv", b"text;n\nab;1\ncd\n", ["line 3: 1 fields, but the header has 2"]),
    ("a.csv", b"sep=;\ntext;n\nab;1\ncd\n", ["line 4: 1 fields"]),
    ("a.csv", b"text\nhello, you\n", ["line 2: 2 fields"]),
    ("a.csv", b"a,a,text\nab,cd,e\n", ["two columns of one name"]),
    ("a", b"some text\n", ["cannot tell what", "choices"]),
]


@pytest.mark.parametrize(("name", "content", "said"), BROKEN)
def test_broken_files(name: str, content: bytes, said: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = fails(tmp_path, path=str(tmp_path / name))
    assert all(part in message for part in said), message


def test_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv", "w") as file:
        file.writestr("b.csv", "text\nab\n")
    assert "ZIP archive" in fails(tmp_path, path=str(tmp_path / "a.csv"))


@pytest.fixture
def owners(tmp_path: Path) -> Path:
    """A folder of files of every kind, in a folder with brackets in its name, and what systems leave there."""
    folder = tmp_path / "old [2024]" / "owners"
    (folder / "deep").mkdir(parents=True)
    jsonl(folder / "ann.jsonl", {"text": "a b"}, {"text": "c d"})
    (folder / "bob.csv").write_text("text;n\ne f;1\n")
    (folder / "deep" / "eve.json.gz").write_bytes(gzip.compress(json.dumps([{"text": "g h"}]).encode()))
    pq.write_table(pa.table({"text": ["i j"]}), folder / "joe.parquet")
    (folder / "kim.txt").write_text("k l\nm n\n")
    for name in (".DS_Store", "_SUCCESS", "notes.md", "._ann.jsonl"):
        (folder / name).write_bytes(b"\0\1")
    return folder


def test_a_folder_of_any_kind_of_file(owners: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    samples = load(tmp_path, path=str(owners))
    assert list(samples.texts) == ["a b", "c d", "e f", "g h", "i j", "k l\nm n\n"]
    assert list(dict.fromkeys(samples.columns["file"])) == [
        "ann.jsonl", "bob.csv", "deep/eve.json.gz", "joe.parquet", "kim.txt",
    ]  # fmt: skip
    assert "not read: .DS_Store, ._ann.jsonl, _SUCCESS, ..." in caplog.text
    found = inspect([owners], column="file")
    assert dict(zip(found.names, found.texts.tolist(), strict=True))["ann.jsonl"] == 2
    assert len(found.names) == 5


def test_patterns_below_a_folder_with_brackets(owners: Path, tmp_path: Path) -> None:
    def files(pattern: str) -> list[str]:
        return list(dict.fromkeys(load(tmp_path, path=f"{owners}/{pattern}").columns["file"]))

    assert files("[ab]*") == ["ann.jsonl", "bob.csv"]
    assert files("**/*.gz") == ["deep/eve.json.gz"]
    jsonl(owners / "x[1].jsonl", {"text": "a b"})
    assert "file" not in load(tmp_path, path=f"{owners}/x[1].jsonl").columns
    jsonl(owners / "x[1] more.jsonl", {"text": "a b"})
    assert files("x[1]*.jsonl") == ["x[1] more.jsonl", "x[1].jsonl"]
    assert "no file or folder" in fails(tmp_path / "new", path=f"{owners}/z*")


def test_several_paths(owners: Path, tmp_path: Path) -> None:
    a, b = str(owners / "ann.jsonl"), str(owners / "bob.csv")
    samples = load(tmp_path, path=[b, a])
    assert list(samples.texts) == ["e f", "a b", "c d"]
    assert list(samples.columns["file"]) == ["bob.csv", "ann.jsonl", "ann.jsonl"]
    assert list(load(tmp_path, path=[str(owners / "kim.txt"), a]).texts) == ["k l", "m n", "a b", "c d"]
    assert list(load(tmp_path, path=[f"{owners}/*.csv", f"{owners}/deep"]).texts) == ["e f", "g h"]
    assert "given twice" in fails(tmp_path / "new", path=[a, f"{owners}/*.jsonl"])
    assert "no file or folder" in fails(tmp_path / "new", path=[a, "none.csv"])
    jsonl(owners / "deep" / "ann.jsonl", {"text": "o p"})
    both = [a, str(owners / "deep" / "ann.jsonl")]
    assert list(dict.fromkeys(load(tmp_path, path=both).columns["file"])) == both


def test_a_path_alone_is_written_as_ever_and_a_list_is_kept() -> None:
    assert '"path": "a.jsonl"' in Experiment.parse({"data": {"path": "a.jsonl"}}).to_json()
    study = Study.parse({"data": {"path": ["a.jsonl", "b.csv"]}})
    assert study.base.data.path == ("a.jsonl", "b.csv")
    assert Study.parse(study.to_mapping()) == study
    (cell,) = study.cells()
    assert cell.experiment == study.base
    with pytest.raises(UsageError, match=r"data\.path"):
        Experiment.parse({"data": {"path": []}})


def test_a_column_called_file_is_the_data_s_own(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"text": "a b", "file": "mine"})
    jsonl(tmp_path / "b.jsonl", {"text": "c d"})
    assert list(load(tmp_path, path=f"{tmp_path}/*.jsonl").columns["file"]) == ["mine", "b.jsonl"]


def test_a_column_that_one_of_several_files_lacks_is_named_with_it(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"text": "a b", "n": 1})
    jsonl(tmp_path / "b.jsonl", {"text": "c d", "m": 1})
    (tmp_path / "c.jsonl").touch()
    samples = load(tmp_path, path=f"{tmp_path}/*.jsonl")
    assert list(samples.columns["n"]) == [1, None]
    jsonl(tmp_path / "d.jsonl", {"txt": "e f"})
    said = fails(tmp_path / "new", path=f"{tmp_path}/*.jsonl")
    assert "d.jsonl has no column 'text'" in said
    jsonl(tmp_path / "0.jsonl", {"txt": "e f"})
    assert "0.jsonl has no column 'text'" in fails(tmp_path / "new", path=f"{tmp_path}/*.jsonl")


def test_what_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(jsonl(tmp_path / "a.jsonl", *ROWS))
    assert "no home folder" in fails(tmp_path / "new", path="~nosuchuser/a.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(load(tmp_path, path="~/a.jsonl").texts) == TEXTS
    assert "too long" in fails(tmp_path / "new", path="x" * 300)
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    assert "loop.jsonl" in fails(tmp_path / "new", path=str(tmp_path / "loop.jsonl"))

    def denied(self: Path, *args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in fails(tmp_path / "new", path=str(file))


def test_a_file_that_vanishes_is_one_line(tmp_path: Path) -> None:
    from cllora.corpus.sources import open_sources

    file = Path(jsonl(tmp_path / "a.jsonl", *ROWS))
    source, _ = open_sources(DataSpec(path=str(file)))
    file.unlink()
    with pytest.raises(UsageError, match=r"cannot read .*a\.jsonl"):
        list(source.rows())


def test_a_folder_that_may_not_be_read_is_refused(
    owners: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def denied(path: Any) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert "Permission denied" in fails(tmp_path / "new", path=str(owners))


def test_images_are_not_decoded_and_no_columns(tmp_path: Path) -> None:
    rows = {"text": ["a b", "c d"], "image": [{"bytes": b"not an image" * 99, "path": "x.png"}] * 2}
    images = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    images.save_to_disk(str(tmp_path / "saved"))
    assert list(load(tmp_path, path=str(tmp_path / "saved")).columns) == ["image.path"]


def test_the_same_bytes_under_another_kind_of_name_are_read_anew(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl"):
        jsonl(tmp_path / name, *ROWS)
    one, other = (load(tmp_path, path=str(tmp_path / name)) for name in ("a.txt", "b.jsonl"))
    assert one.texts[0] == json.dumps(ROWS[0])
    assert other.texts[0] == "one"


def test_inspect_expands_patterns_and_reads_saved_datasets(command: Any, tmp_path: Path) -> None:
    for owner in ("ann", "bob"):
        jsonl(tmp_path / f"{owner}.jsonl.x", *[{"text": "a " * n} for n in range(1, 20)])
        (tmp_path / f"{owner}.jsonl.x").rename(tmp_path / f"{owner}.jsonl")
    code, out, err = command("inspect", f"{tmp_path}/*.jsonl", "--json")
    assert code == 0, err
    assert json.loads(out)["by_owner"]["names"] == ["ann", "bob"]
    rows = [{"text": "a " * n, "who": n % 3} for n in range(1, 40)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    code, out, err = command("inspect", tmp_path / "saved", "--column", "who", "--json")
    assert code == 0, err
    assert json.loads(out)["by_owner"]["names"] == ["1", "2", "0"]
    refused(command("inspect", tmp_path / "saved", "--column", "whom"), "did you mean 'who'")


def test_the_cache_is_found_again_for_several_files(owners: Path, tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    data = DataSpec(path=[str(owners), jsonl(tmp_path / "more.jsonl", {"text": "o p"})])
    first = load_samples(data, tokenizer, cache=tmp_path / "cache")
    calls = tokenizer.calls
    assert load_samples(data, tokenizer, cache=tmp_path / "cache").fingerprint == first.fingerprint
    assert tokenizer.calls == calls


def test_files_that_are_read_whole_say_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "owners"
    folder.mkdir()
    for name in ("ann", "bob"):
        (folder / f"{name}.txt").write_text("one two\n\nthree four\nfive\n")
    whole = load(tmp_path, path=str(folder))
    assert list(whole.notes) == [
        f"{folder}: 2 .txt files are one text each, of 25 characters and 3 lines on average; for a text per line name "
        f"the files themselves (data.path: [{folder}/ann.txt, ...])"
    ]
    assert load(tmp_path, path=str(folder)).notes == whole.notes
    pattern = load(tmp_path, path=str(folder / "ann*.txt"))
    assert "1 .txt file is read as one text, of 25 characters and 3 lines" in pattern.notes[0]
    by_line = load(tmp_path, path=[str(folder / "ann.txt"), str(folder / "bob.txt")])
    assert (len(by_line.notes), len(by_line.texts)) == (0, 6)
    inspect([folder], column="file")
    assert caplog.text.count("2 .txt files are one text each") == 1
    for name in ("ann", "bob"):
        (folder / f"{name}.txt").write_text("one line alone\n")
    assert not load(tmp_path, path=str(folder)).notes
