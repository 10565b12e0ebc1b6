"""docs/own-data.md, chats and instructions: every kind of row that it shows, by the studies that it shows for them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import cllora
from cllora.model.tokenizer import ModelTokenizer
from cllora.runs.study_cache import samples_of
from cllora.spec import Study

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text()


def blocks(heading, language):
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S)


ROWS = [json.loads(block) for block in (*blocks("Chats", "json"), *blocks("Instructions", "json"))]
CHATS, INSTRUCTIONS = (
    [yaml.safe_load(block) for block in blocks(heading, "yaml")] for heading in ("Chats", "Instructions")
)
CASES = [(row, CHATS[1]) for row in ROWS[:3]] + [(row, INSTRUCTIONS[0]) for row in ROWS[3:5]]
CASES += [(ROWS[5], INSTRUCTIONS[1])]


@pytest.fixture
def lay_out(tmp_path, monkeypatch):
    """Write a row many times, each a little longer, where the study looks for it."""
    monkeypatch.chdir(tmp_path)
    Path("chat.jinja").write_text(blocks("Chats", "jinja")[0].rstrip("\n"))

    def write(row, study):
        lines = [json.dumps(row).replace("wo and two?", "wo and two?" + " Well?" * (i % 7)) for i in range(80)]
        Path(study["data"]["path"]).write_text("\n".join(lines))

    return write


@pytest.mark.parametrize(("row", "written"), CASES)
def test_rows_become_samples(row, written, lay_out):
    lay_out(row, written)
    study = Study.parse(written)
    samples = samples_of(study.cells()[0].experiment)
    assert len(samples) == 80
    assert samples.dropped == {}
    assert samples.texts[0].rstrip().endswith("Four.")
    answer = ModelTokenizer("embedded").encode(["Four."], special=False)[0]
    counted = samples.predicted(np.arange(80), 128)
    assert set(counted.tolist()) <= {len(answer) + more for more in (0, 1, 2)}, "the answer, its space and its end"
    again = Study.parse(yaml.safe_load(study.to_yaml()))
    assert again == study
    assert samples_of(again.cells()[0].experiment).fingerprint == samples.fingerprint


def test_the_study_of_chats_runs(lay_out, tmp_path):
    lay_out(ROWS[0], CHATS[1])
    settings = ["federation.num_rounds=1", "partition.num_clients=2", "partition.min_samples=2", "local.steps=1"]
    folder = cllora.run(Study.parse(CHATS[1], settings), tmp_path / "run")
    assert list(folder.glob("*/adapter"))


def test_a_model_with_a_template_needs_no_more(lay_out):
    assert "template" not in CHATS[0]["data"]
    assert CHATS[0]["data"]["path"] == CHATS[1]["data"]["path"]
