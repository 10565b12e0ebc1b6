"""Sources to samples: every kind of source, how texts are made, and what is dropped."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest

from cllora.corpus import corpora, load_samples, versions
from cllora.corpus.samples import reasons_line
from cllora.places import cache_folder
from cllora.spec import DataSpec
from support.corpus import BOS, ROWS, BareTokenizer, ByteTokenizer, fails, jsonl, load, write_source


@pytest.mark.parametrize("kind", ["jsonl", "json", "jsonl.gz", "csv", "csv.gz", "txt", "parquet", "saved"])
def test_every_kind_of_file_gives_the_same_samples(kind: str, tmp_path: Path) -> None:
    samples = load(tmp_path, path=write_source(kind, tmp_path))
    assert list(samples.texts) == ["one", "zwei ü"]
    assert samples.tokens_of(1, 3).tolist() == [BOS, ord("z"), ord("w")]
    assert samples.lengths().tolist() == [4, 8]
    assert samples.prompts.tolist() == [0, 0]
    labels = {name: list(values) for name, values in samples.columns.items()}
    assert labels == ({} if kind == "txt" else {"label": ["1", "2"] if kind.startswith("csv") else [1, 2]})


def test_a_folder_of_texts_and_globs(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    (texts / "b").mkdir(parents=True)
    (texts / "a.txt").write_text("one\ntwo\n")
    (texts / "b" / "c.txt").write_text("three")
    (texts / "notes.md").write_text("not read")
    samples = load(tmp_path, path=str(texts))
    assert list(samples.texts) == ["one\ntwo\n", "three"]
    assert list(samples.columns["file"]) == ["a.txt", "b/c.txt"]
    assert list(load(tmp_path, path=f"{texts}/**/*.txt").texts) == ["one\ntwo\n", "three"]
    jsonl(tmp_path / "p1.jsonl", {"text": "ab"})
    jsonl(tmp_path / "p2.jsonl", {"text": "cd"})
    assert list(load(tmp_path, path=f"{tmp_path}/p*.jsonl").texts) == ["ab", "cd"]


def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "extra": datasets.Dataset.from_list([{"text": "extra"}])}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, subset, split: splits[split])
    samples = load(tmp_path, hub="owner/name", test="extra")
    assert list(samples.texts) == ["one", "zwei ü", "extra"]
    assert list(samples.columns["label"]) == [1, 2, None]
    assert samples.test is not None
    assert samples.test.tolist() == [2]
    assert "no/such" in fails(tmp_path / "new", hub="no/such", split="nowhere")


def test_one_of_several_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set's repository, as the hub has them, that lies on this machine: loaded for real."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "downloads")
    place = tmp_path / "repository"
    place.mkdir()
    jsonl(place / "a.jsonl", {"text": "of a"})
    jsonl(place / "b.jsonl", {"text": "of b"})
    configurations = [f"- config_name: {name}\n  data_files: {name}.jsonl" for name in "ab"]
    (place / "README.md").write_text("\n".join(["---", "configs:", *configurations, "---", ""]))
    assert list(load(tmp_path, hub=str(place), subset="b").texts) == ["of b"]
    assert list(load(tmp_path, hub=str(place), subset="a").texts) == ["of a"]
    missing = fails(tmp_path / "new", hub=str(place))
    assert "data.subset" in missing
    assert "['a', 'b']" in missing
    assert "'c' not found" in fails(tmp_path / "new", hub=str(place), subset="c")
    with pytest.raises(ValueError, match="subset is of a data set of the hub"):
        DataSpec(path="a.jsonl", subset="b")


def test_hub_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, subset: str | None, split: str) -> None:
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    assert "Couldn't reach the Hub" in fails(tmp_path, hub="owner/name")


def test_saved_splits(tmp_path: Path) -> None:
    place = str(tmp_path / "saved")
    parts = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list([{"text": "held out"}])}
    datasets.DatasetDict(parts).save_to_disk(place)
    samples = load(tmp_path, path=place, test="test")
    assert samples.test is not None
    assert samples.test.tolist() == [2]
    assert samples.texts[2] == "held out"
    assert "did you mean 'test'? choices: test, train" in fails(tmp_path / "new", path=place, test="tests")


def test_a_test_file_follows_and_has_no_limit(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", *[{"text": f"text {i}"} for i in range(5)])
    test = jsonl(tmp_path / "test.jsonl", *[{"text": f"test {i}"} for i in range(4)])
    samples = load(tmp_path, path=train, test=test, limit=3)
    assert list(samples.texts) == ["text 0", "text 1", "text 2", "test 0", "test 1", "test 2", "test 3"]
    assert samples.test is not None
    assert samples.test.tolist() == [3, 4, 5, 6]
    assert load(tmp_path, path=train).test is None


def test_docstrings_corpus(tmp_path: Path) -> None:
    options = {"name": "docstrings", "packages": ["typer"]}
    samples = load(tmp_path, corpus=options, limit=20)
    assert len(samples) == 20
    assert set(samples.columns) == {"owner", "module", "kind"}
    tokenizer = ByteTokenizer()
    assert load(tmp_path, tokenizer, corpus=options, limit=20).fingerprint == samples.fingerprint
    assert tokenizer.calls == 0
    assert set(versions.names()) <= set(corpora.names())


def test_an_own_corpus_is_read_each_time_and_told_by_its_rows(tmp_path: Path) -> None:
    texts = ["ab", "cd"]

    def own(*, times: int = 1) -> Iterator[dict[str, object]]:
        for text in texts:
            yield {"text": text * times, "size": np.int64(len(text)), "parts": [text]}

    corpora.register("own")(own)
    choice = {"name": "own", "times": 2}
    first = load(tmp_path, corpus=choice)
    assert list(first.texts) == ["abab", "cdcd"]
    assert {name: list(values) for name, values in first.columns.items()} == {"size": [2, 2]}
    assert load(tmp_path, corpus=choice).fingerprint == first.fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 1
    texts.append("ef")
    assert list(load(tmp_path, corpus=choice).texts) == ["abab", "cdcd", "efef"]
    assert "no option 'time'" in fails(tmp_path / "new", corpus={"name": "own", "time": 2})
    assert "choices: docstrings" in fails(tmp_path / "new", corpus="docstring")
    assert "give a share" in fails(tmp_path / "new", corpus=choice, test="held_out")


def test_templates(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [{"q": "Why", "n": 3}, {"q": None, "n": 1}, {"q": " ", "n": ""}, {"q": "Who", "n": nan}, {"q": [1], "n": 2}]
    path = jsonl(tmp_path / "a.jsonl", *rows, {"n": None})
    samples = load(tmp_path, path=path, text="{{{n}}} Q: {q}?")
    assert list(samples.texts) == ["{3} Q: Why?", "{1} Q: ?", "{} Q: Who?"]
    assert samples.dropped == {"empty (columns 'n', 'q')": 2, "not text (column 'q')": 1}
    assert samples.examples == {"empty (columns 'n', 'q')": "''", "not text (column 'q')": "[1]"}
    assert list(samples.columns["n"])[:2] == [3, 1]


def test_answers(tmp_path: Path) -> None:
    rows = [{"q": "Why?", "a": "So"}, {"q": "How?", "a": ""}, {"q": "", "a": "x"}, {"q": "Who?", "a": None}]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    fields = {"path": path, "text": "{q} ", "answer": "a"}
    samples = load(tmp_path, loss_on="answer", **fields)
    assert list(samples.texts) == ["Why? So"]
    assert samples.tokens.tolist() == [BOS, *b"Why? So"]
    assert samples.prompts.tolist() == [6]
    assert samples.dropped == {"no answer (column 'a')": 1, "empty (column 'q')": 1, "no value (column 'a')": 1}
    everywhere = load(tmp_path, **fields)
    assert everywhere.tokens.tolist() == samples.tokens.tolist()
    assert everywhere.prompts.tolist() == [0]
    assert everywhere.fingerprint != samples.fingerprint


def test_rows_of_no_use_are_counted_by_reason(tmp_path: Path) -> None:
    texts = ["  \n", None, 7, ["a list"], "x", "\ud800 half", "of use"]
    path = jsonl(tmp_path / "a.jsonl", *({"text": text} for text in texts), {"title": "no text"})
    samples = load(tmp_path, BareTokenizer(), path=path)
    assert list(samples.texts) == ["of use"]
    reasons = {"empty": 1, "no value": 2, "not text": 2, "fewer than two tokens": 1, "not valid Unicode": 1}
    assert samples.dropped == {f"{reason} (column 'text')": count for reason, count in reasons.items()}
    assert samples.examples["not text (column 'text')"] == "7"
    assert samples.examples["not valid Unicode (column 'text')"] == r"'\ud800 half'"
    assert (
        reasons_line({"empty (column 'text')": 1_000}, samples.examples)
        == "1,000 empty (column 'text'), such as '  \\n'"
    )


def test_limit_stops_reading(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": text}) for text in ("ab", "", "cd", "", "ef")]
    file.write_text("\n".join(rows))
    samples = load(tmp_path, path=str(file), limit=2)
    assert list(samples.texts) == ["ab", "cd"]
    assert samples.dropped == {"empty (column 'text')": 1}
    assert len(load(tmp_path, path=str(file), limit=99)) == 3


def test_column_types_widen_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cllora.corpus.encode.BATCH_ROWS", 2)
    rows = [
        {"text": "r0", "score": None, "label": 1, "big": 2**70, "tags": "a", "ok": True},
        {"text": "r1", "score": 1, "label": 2, "big": 1, "tags": "b", "ok": None},
        {"text": "r2", "score": 1.5, "label": "x", "big": 2, "tags": ["c"], "ok": False},
        {"text": "r3", "late": 4},
        {"text": "r4", "score": 2, "label": 3, "ok": False},
    ]
    samples = load(tmp_path, path=jsonl(tmp_path / "a.jsonl", *rows))
    assert list(samples.texts) == ["r0", "r1", "r2", "r3", "r4"]
    assert {name: list(values) for name, values in samples.columns.items()} == {
        "score": [None, 1.0, 1.5, None, 2.0],
        "label": ["1", "2", "x", None, "3"],
        "big": [str(2**70), "1", "2", None, None],
        "ok": [True, None, False, None, False],
        "late": [None, None, None, 4, None],
    }
    assert samples.texts[1:3] == ["r1", "r2"]
    assert samples.texts[-1] == "r4"


def test_long_csv_fields_and_quoted_newlines(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "a.csv").write_text(f'text,n\n"two\nlines, ""quoted""",1\n{long},2\n')
    assert list(load(tmp_path, path=str(tmp_path / "a.csv")).texts) == ['two\nlines, "quoted"', long]


def test_progress(tmp_path: Path) -> None:
    path = write_source("parquet", tmp_path)
    seen: list[tuple[int, int | None, str]] = []
    load_samples(DataSpec(path=path), ByteTokenizer(), cache=tmp_path / "c", progress=lambda *now: seen.append(now))
    assert seen == [(2, 2, f"reading {path}")]


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("CLLORA_CACHE")
    assert cache_folder() == tmp_path / "cllora"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cllora"


def test_nothing_slow_is_imported() -> None:
    code = "import sys, cllora.corpus; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
