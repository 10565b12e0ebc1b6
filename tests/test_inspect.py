"""`cllora inspect` as a user meets it: owners' files in, their alphas out, and one line for every mistake."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cllora.analysis import curves_of
from cllora.partition import Estimate, partitioners, pool_of
from cllora.reports import sentences
from cllora.runs.inspect import inspect
from cllora.seeds import rng
from cllora.spec import PartitionSpec
from support.fixtures import refused
from support.synthetic import make_study, write_study

ROOT = Path(__file__).parents[1]


@pytest.fixture
def command(command):
    """Run `cllora inspect ...`."""
    return functools.partial(command, "inspect")


def write_owners(folder, alpha=0.5, owners=30, texts=40):
    """One file with a column of owners, to whom `client_mix` has dealt texts of 1, 2, 3, ... characters."""
    lengths = np.arange(1, owners * texts + 1)
    spec = PartitionSpec(num_clients=owners, min_samples=1)
    pool = pool_of(spec, ids=lengths - 1, values=lengths.astype(float), lengths=lengths, context=8)
    deal = partitioners.bind("client_mix", {"alpha": alpha})(pool, rng(0, "owners"))
    path = folder / "owners.jsonl"
    with path.open("w") as file:
        for owner, text in zip(deal.clients().tolist(), deal.positions.tolist(), strict=True):
            row = {"who": f"owner {owner}", "text": "x" * (text + 1), "stars": text % 5}
            file.write(json.dumps(row) + "\n")
    return path


def test_tables_and_sentences_fit_80_columns(command, tmp_path):
    code, out, err = command(write_owners(tmp_path), "--column", "who")
    assert code == 0, err
    for part in ("30 owners, 1,200 texts", "owner 0", "length in characters", "Gini", "Your skew of length in charact"):
        assert part in out
    assert "Your skew of quantity cannot be told from iid" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_json_has_the_alpha_of_the_deal(command, tmp_path):
    code, out, _ = command(write_owners(tmp_path), "--column", "who", "--json")
    assert code == 0
    found = json.loads(out)
    (length,) = found["features"]
    alpha = length["alpha"]
    assert 0.5 < alpha["estimate"] < 0.75  # 40 texts each: a disjoint deal reads as more even, see docs/method.md
    assert 0.45 < alpha["low"] < alpha["estimate"] < alpha["high"] < 1
    as_unlike = length["alpha_as_unlike"]
    assert as_unlike["low"] < alpha["estimate"] < as_unlike["high"]  # these owners are a Dirichlet draw
    assert not any("the likeliest draw" in sentence for sentence in found["sentences"])
    assert found["quantity"]["alpha"]["estimate"] == "iid"
    assert found["owners"] == len(found["by_owner"]["names"]) == len(length["by_owner"]["js"]) == 30
    assert found["texts"] == sum(found["by_owner"]["texts"]) == 1200
    assert len(found["sentences"]) >= 2
    assert found["said"] == found["sentences"]  # as 0.1.0 called them


def test_a_file_per_owner_is_the_same_as_a_column(command, tmp_path):
    whole = write_owners(tmp_path)
    rows = [json.loads(line) for line in whole.read_text().splitlines()]
    files = [tmp_path / f"{name}.jsonl" for name in dict.fromkeys(row["who"] for row in rows)]
    for file in files:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows if row["who"] == file.stem))
    split = json.loads(command(*files, "--json")[1])
    assert split == json.loads(command(whole, "--column", "who", "--json")[1])


def test_folders_templates_and_other_features(command, tmp_path):
    for owner, words in (("ann", 3), ("bob", 30)):
        (tmp_path / owner).mkdir()
        for number in range(12):
            (tmp_path / owner / f"{number}.txt").write_text("word " * (words + number))
    code, out, err = command(tmp_path / "ann", tmp_path / "bob", "--by", "{name: length, unit: words}", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["by_owner"]["names"] == ["ann", "bob"]
    assert found["features"][0]["by"] == {"name": "length", "unit": "words"}
    whole = write_owners(tmp_path)
    assert command(whole, "--column", "who", "--text", "{text} {stars}")[0] == 0
    code, out, err = command(
        ROOT / "examples/owners.csv", "--column", "owner", "--by", "topic", "--by", "mtld", "--json"
    )
    assert code == 0, err
    assert [each["by"]["name"] for each in json.loads(out)["features"]] == ["length", "topic", "mtld"]


def test_rows_without_text_or_owner_are_dropped_with_a_printed_count(command, tmp_path):
    whole = write_owners(tmp_path)
    with whole.open("a") as file:
        file.write('{"who": "owner 1", "text": " "}\n{"who": null, "text": "one"}\n{"text": "two"}\n')
    code, _, err = command(whole, "--column", "who")
    assert code == 0
    said = "1 empty (column 'text'), such as ' '; 2 no owner (column 'who'), such as None"
    assert f"cllora: 3 rows cannot be used and were dropped: {said}" in err


def test_an_owner_without_texts_is_left_out_and_named(command, tmp_path):
    for owner in ("ann", "bob"):
        (tmp_path / f"{owner}.txt").write_text("".join("word " * n + "\n" for n in range(1, 30)))
    (tmp_path / "eve.jsonl").write_text('{"text": " "}\n')
    (tmp_path / "joe.csv").touch()
    code, out, err = command(*(tmp_path / name for name in ("ann.txt", "eve.jsonl", "bob.txt", "joe.csv")), "--json")
    assert code == 0
    assert json.loads(out)["by_owner"]["names"] == ["ann", "bob"]
    said = " ".join(err.split())
    assert "eve.jsonl has no usable texts: 1 empty (column 'text'), such as ' ', and is left out" in said
    assert "joe.csv has no usable texts: it is empty, and is left out" in said


def test_every_mistake_is_one_line(command, tmp_path):
    whole = write_owners(tmp_path)
    refused(command(tmp_path / "none.jsonl"), "no file or folder", "none.jsonl")
    refused(command(whole), "--column", "columns: who, text, stars")
    refused(command(whole, "--column", "whom"), "did you mean 'who'")
    refused(command(whole, "--column", "who", "--text", "txt"), "did you mean 'text'")
    refused(command(whole, "--column", "who", "--text", "{"), "--text")
    refused(command(whole, "--column", "who", "--by", "lenght"), "did you mean 'length'")
    refused(command(whole, "--column", "who", "--by", "{name: length, unit: metres}"), "unit")
    refused(command(whole, "--column", "who", "--by", "["), "--by")
    refused(command(whole, "--column", "who", "--by", "seen_tokens"), "needs a model")
    refused(command(whole, "--column", "who", "--by", "perplexity"), "'perplexity'", "needs a model")
    refused(command(whole, "--column", "who", "--against", tmp_path / "nothing"), "nothing")
    refused(command(whole, whole), "given twice")
    one = tmp_path / "one.jsonl"
    one.write_text('{"who": "ann", "text": "a b"}\n' * 3)
    refused(command(one, "--column", "who"), "one owner", "'ann'")
    empty, bare = tmp_path / "empty.jsonl", tmp_path / "bare.csv"
    empty.write_text('{"text": ""}\n{"text": " "}\n')
    bare.touch()
    refused(command(empty, bare), "empty.jsonl", "no usable texts: 2 empty")
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(b'{"text": "caf\xe9"}\n')
    refused(command(one, broken), "line 1", "UTF-8")
    (tmp_path / "odd.xyz").write_text("a")
    refused(command(one, tmp_path / "odd.xyz"), "odd.xyz", "choices")


def test_no_model_is_loaded(tmp_path):
    path = write_owners(tmp_path, owners=3, texts=10)
    code = (
        "import sys; sys.argv[1:] = ['inspect', sys.argv[1], '--column', 'who']\n"
        "from cllora.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    assert b"3 owners" in done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), make_study((0.1, 1, 100, "iid"), num_seeds=3))


@pytest.fixture(scope="module")
def curves(study):
    return curves_of(study)


def test_against_a_study_the_effect_lies_between_the_measured_ones(command, study, curves, tmp_path):
    code, out, err = command(write_owners(tmp_path), "--column", "who", "--against", study, "--json")
    assert code == 0, err
    sentences = " ".join(json.loads(out)["sentences"])
    for part in ("at alpha 0.1", "at alpha 1", "on the line between them", "nats per token", "4 clients", "3 seeds"):
        assert part in sentences
    (curve,) = curves
    assert curve.alphas.tolist() == [0.1, 1, 100]
    middle, *_ = curve.between(10**-0.5)
    assert middle == pytest.approx((curve.difference[0] + curve.difference[1]) / 2)


def test_an_effect_of_something_else_as_well_is_no_effect_of_alpha(tmp_path):
    """A study may corrupt texts too; what is corrupted and skewed differs from the control in both."""
    corrupt = {"kind": "shuffle_words", "share": 0.5}
    two = {"grid": {"data.corrupt.share": [0, 0.5], "partition.alpha": [0.1, "iid"]}, "data": {"corrupt": corrupt}}
    control = {"data.corrupt.share": 0, "partition.alpha": "iid"}
    (curve,) = curves_of(write_study(tmp_path / "one", make_study(**two, control=control)))
    assert curve.setting == "corrupt.share = 0"
    each = curves_of(write_study(tmp_path / "each", make_study(**two)))
    assert [curve.setting for curve in each] == ["corrupt.share = 0", "corrupt.share = 0.5"]


def said_of(curves, tmp_path, estimate):
    """What is said of an estimate by a study that measured alpha 0.1, 1 and 100."""
    found = inspect([write_owners(tmp_path, owners=4, texts=20)], column="who")
    skews = (dataclasses.replace(found.features[0], alpha=estimate),)
    return " ".join(sentences(dataclasses.replace(found, features=skews), curves))


def test_beyond_the_measured_nothing_is_said(curves, tmp_path):
    said = said_of(curves, tmp_path, Estimate(0.02, 0.01, 0.04))
    assert "yours is stronger, where nothing was" in said
    assert "Part of your interval lies beyond what was measured" in said
    assert "on the line" not in said
    said = said_of(curves, tmp_path, Estimate(300.0, 150.0, np.inf))
    assert "yours is weaker, where nothing was" in said


def test_where_the_likeliest_draw_is_of_other_skew_than_the_owners_that_is_said(curves, tmp_path):
    less = said_of(curves, tmp_path, Estimate(0.001, 0.0005, 0.002))
    assert "its clients are more unlike than your owners. To study clients as unlike as these, take alpha = " in less


def test_no_skew_is_the_control(curves, tmp_path):
    said = said_of(curves, tmp_path, Estimate(np.inf, 12.0, np.inf))
    assert "cannot be told from iid" in said
    assert "iid is what others are compared with: no difference" in said
    assert "an alpha below 12 would show" in said


def test_a_measured_alpha_is_quoted_as_it_was_measured(curves, tmp_path):
    said = said_of(curves, tmp_path, Estimate(1.0, 0.8, 1.3))
    assert "we measured" in said
    assert "on the line" not in said
    assert "wide interval: 4 owners" not in said.split("length in characters")[1]


def test_nothing_known(curves, tmp_path):
    assert "Nothing can be told of the skew of length" in said_of(curves, tmp_path, None)


def test_a_study_without_alphas_has_no_curve(command, tmp_path):
    folder = write_study(tmp_path / "a", make_study(("iid",)))
    refused(command(write_owners(tmp_path), "--column", "who", "--against", folder), "no finite alpha")
    folder = write_study(tmp_path / "b", make_study(grid={"lora.r": [1, 2]}, control={}))
    refused(command(write_owners(tmp_path), "--column", "who", "--against", folder), "does not vary partition.alpha")


def test_another_subject_is_named(command, tmp_path):
    partition = {"scheme": "client_mix", "by": "mtld", "num_clients": 4, "local_test": 0.2, "residual_on": "length"}
    folder = write_study(tmp_path / "study", make_study(partition=partition))
    code, out, err = command(write_owners(tmp_path), "--column", "who", "--against", folder, "--json")
    assert code == 0, err
    assert "varies the skew of mtld (threshold = 0.72) made independent of length" in " ".join(json.loads(out)["said"])


TURNS = [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]


@pytest.mark.parametrize(
    ("row", "characters", "how"),
    [
        ({"messages": TURNS}, 18, "chats (column 'messages'): what is said, without a chat template"),
        ({"messages": json.dumps(TURNS)}, 18, "chats (column 'messages')"),
        ({"conversations": [{"from": "human", "value": "Two?"}, {"from": "gpt", "value": "2"}]}, 6, "conversations"),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, 18, "chats that go on from a prompt"),
        ({"prompt": "Two?", "completion": " 2"}, 6, "column 'prompt' with column 'completion' as the answer"),
        ({"instruction": "Add.", "input": "2, 2", "output": "4"}, 11, "with column 'output' as the answer"),
    ],
)
def test_chats_and_instructions_are_recognised_as_in_a_study(command, tmp_path, row, characters, how):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({**row, "who": who}) + "\n" for who in ("ann", "bob", "ann", "bob")))
    code, out, err = command(file, "--column", "who", "--json")
    assert code == 0, err
    assert json.loads(out)["by_owner"]["characters"] == [2 * characters] * 2
    assert err.count("is read as") == 1
    assert how in err


def test_a_bad_chat_is_dropped_by_name_and_a_column_of_chats_can_be_named(command, tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [{"chat": turns, "who": who} for who in ("ann", "bob") for turns in (TURNS, [{"role": "x", "content": "y"}])]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = command(file, "--column", "who", "--text", "chat", "--json")
    assert code == 0, err
    assert json.loads(out)["texts"] == 2
    assert "2 rows cannot be used and were dropped: 2 a turn of an unknown role (column 'chat')" in err
    refused(command(file, "--column", "who"), "has no column 'text'", "chat")
