"""Which rows a JSON file holds: tables, lists per owner, chats; and what is refused rather than guessed."""

import json
from pathlib import Path
from typing import Any

import pytest

from cllora.corpus.files import READERS
from cllora.corpus.json_rows import read_json
from support.corpus import fails, load

CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]
PAIRS = [{"prompt": "q1", "completion": "a1"}, {"prompt": "q2", "completion": "a2"}]

TABLES: list[tuple[Any, list[Any]]] = [
    ({"prompt": ["q1", "q2"], "completion": ["a1", "a2"]}, PAIRS),
    ({"instruction": ["a"], "input": [""], "output": ["b"]}, [{"instruction": "a", "input": "", "output": "b"}]),
    ({"texts": ["a", "b"], "labels": [0, 1]}, [{"texts": "a", "labels": 0}, {"texts": "b", "labels": 1}]),
    ({"body": ["a", "b"], "who": ["x", "y"]}, [{"body": "a", "who": "x"}, {"body": "b", "who": "y"}]),
    ({"messages": CHAT}, [{"messages": CHAT}]),
    ({"prompt": CHAT[:1], "completion": CHAT[1:]}, [{"prompt": CHAT[:1], "completion": CHAT[1:]}]),
    ({"messages": [CHAT, CHAT]}, [{"messages": CHAT}] * 2),
    ({"columns": ["prompt", "completion"], "index": [0, 1], "data": [["q1", "a1"], ["q2", "a2"]]}, PAIRS),
    ({"version": "1", "data": PAIRS}, PAIRS),
    ({"prompt": {"x": "q1", "y": "q2"}, "completion": {"x": "a1", "y": "a2"}}, PAIRS),
    ({"x": PAIRS[0], "y": PAIRS[1]}, [{**PAIRS[0], "owner": "x"}, {**PAIRS[1], "owner": "y"}]),
    ({"17": {"text": ["a", "b"]}, "18": {"text": ["c"]}},
     [{"text": "a", "owner": "17"}, {"text": "b", "owner": "17"}, {"text": "c", "owner": "18"}]),
    ({"ann": {"text": ["a", "b"]}}, [{"text": "a", "owner": "ann"}, {"text": "b", "owner": "ann"}]),
    ({"ann": [{"text": "a", "owner": None}], "bob": [{"text": "b", "owner": "me"}]},
     [{"text": "a", "owner": "ann"}, {"text": "b", "owner": "me"}]),
    ({"ann": ["a", None], "bob": [None, "b"]},
     [{"text": "a", "owner": "ann"}, {"text": None, "owner": "ann"},
      {"text": None, "owner": "bob"}, {"text": "b", "owner": "bob"}]),
    (CHAT, CHAT),
]  # fmt: skip


@pytest.mark.parametrize(("written", "rows"), TABLES)
@pytest.mark.parametrize("indent", [None, 1])
def test_what_one_value_holds(written: Any, rows: list[Any], indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(written, indent=indent))
    assert list(read_json(tmp_path / "a.json", ("body",))) == rows


def test_a_table_whose_column_the_study_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"body": ["a b", "c d"], "who": ["x", "y"]}))
    samples = load(tmp_path, path=str(tmp_path / "a.json"), text="body")
    assert list(samples.texts) == ["a b", "c d"]
    assert list(samples.columns["who"]) == ["x", "y"]


REFUSED: list[tuple[str, str, str]] = [
    ("a.json", '{"train": ["a b"], "test": ["c d"]}', "holds the splits train, test"),
    ("a.json", '{"data": {"train": [{"text": "a b"}], "validation": []}}', "holds the splits"),
    ("a.json", '{"prompt": ["a", "b"], "completion": ["c"]}', "columns of different lengths"),
    ("a.jsonl", '["ann", "a text of ann"]\n["bob", "a text of bob"]\n', "line 1: an array is no row"),
    ("a.jsonl", '[]\n["bob", "a text of bob"]\n', "line 2: an array is no row"),
    ("a.jsonl", '{"text": "ab"}\n\n{"text": cd}\n', "line 3: broken JSON: Expecting value (column 10)"),
    ("a.json", '["ann"]\n["bob"]\n', "line 1: an array is no row"),
]


@pytest.mark.parametrize(("name", "written", "said"), REFUSED)
def test_what_is_not_guessed(name: str, written: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(written)
    assert said in fails(tmp_path, path=str(tmp_path / name))


@pytest.mark.parametrize("count", [1, 3])
def test_a_chat_per_line(count: int, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(CHAT)}\n" * count)
    assert list(READERS[".jsonl"](tmp_path / "a.jsonl")) == [{"messages": CHAT}] * count


def test_an_array_of_rows_some_of_which_look_like_turns(tmp_path: Path) -> None:
    rows = [*CHAT, {"text": "a"}, *CHAT]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows))
    assert list(READERS[".jsonl"](tmp_path / "a.jsonl")) == rows
