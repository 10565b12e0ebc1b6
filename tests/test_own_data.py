"""What docs/own-data.md shows of files and owners runs, from the files that people have."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml

from support.samples import WORDS

PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"


def blocks(section: str, language: str) -> list[str]:
    """The blocks below a heading of the page."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert text is not None
    return re.findall(rf"^```{language}\n(.*?)^```", text[1], re.M | re.S)


STUDIES = [(section, text) for section in ("Files", "Owners") for text in blocks(section, "yaml")]


def texts() -> list[str]:
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS, draw.integers(2, 30))) for _ in range(160)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files that the page names."""
    folder = tmp_path_factory.mktemp("own-data")
    table = pd.DataFrame({"review": texts(), "stars": [i % 5 for i in range(160)]})
    table.to_json(folder / "reviews.jsonl", orient="records", lines=True)
    table.to_json(folder / "reviews.json", orient="records", indent=2)
    table.to_csv(folder / "reviews.csv", sep=";", index=False)
    table.to_parquet(folder / "reviews.parquet")
    (folder / "lines.txt").write_text("\n".join(texts()))
    rows = [{"text": text, "meta": {"owner": 2**60 + i % 5}} for i, text in enumerate(texts())]
    by_owner = {f"owner {k}": texts()[k::5] for k in range(5)}
    (folder / "by-owner.json").write_text(json.dumps(by_owner, indent=1))
    write_lines(folder / "posts.jsonl", rows)
    for owner in range(5):
        write_lines(folder / "owners" / f"owner{owner}.jsonl", rows[owner::5])
    for number, text in enumerate(texts()):
        (folder / "notes" / f"owner{number % 5}").mkdir(parents=True, exist_ok=True)
        (folder / "notes" / f"owner{number % 5}" / f"{number}.txt").write_text(text)
    for shard in range(2):
        write_lines(folder / "shards" / f"{shard}.jsonl", [{"review": text + " more"} for text in texts()[shard::2]])
    parts = {"train": datasets.Dataset.from_pandas(table), "validation": datasets.Dataset.from_pandas(table[:9])}
    datasets.DatasetDict(parts).save_to_disk(str(folder / "saved"))
    return folder


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.mark.parametrize(("section", "text"), STUDIES)
def test_three_lines_deal_the_texts_of_a_file(section: str, text: str, command: Any, tiny_models: Any) -> None:
    assert len(text.splitlines()) == 3
    Path("first.yaml").write_text(text)
    code, out, err = command("partition", "first.yaml", "--set", f"model.name={tiny_models('llama')}", "--json")
    assert code == 0, err
    (realised,) = json.loads(out).values()
    assert len(realised["clients"]["samples"]) == 4
    if yaml.safe_load(text)["partition"].get("scheme") == "natural":
        assert len(set(realised["clients"]["names"])) == 4


def test_three_lines_are_a_study(command: Any, tiny_models: Any, tmp_path: Path) -> None:
    (text,) = (text for _, text in STUDIES if isinstance(yaml.safe_load(text)["data"]["path"], list))
    Path("first.yaml").write_text(text)
    settings = [
        f"model.name={tiny_models('llama')}", "model.context=32", "model.device=cpu", "federation.num_rounds=1",
        "lora.target_modules=[q_proj,v_proj]",
    ]  # fmt: skip
    asked = [part for setting in settings for part in ("--set", setting)]
    code, out, err = command("run", "first.yaml", "--out", tmp_path / "run", *asked)
    assert code == 0, err
    assert "Report:" in out
    assert "shards/*.jsonl, reviews.csv" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("line", [line for text in blocks("Owners", "sh") for line in text.splitlines()])
def test_inspect_finds_the_same_owners(line: str, command: Any) -> None:
    _, *words = line.split()
    files = [file for word in words for file in (sorted(map(str, Path().glob(word))) or [word])]
    code, out, err = command(*files, "--json")
    assert code == 0, err
    assert sum(json.loads(out)["by_owner"]["texts"]) == 160
    assert len(json.loads(out)["by_owner"]["names"]) == 5
