"""Whole studies on a tiny model: the folder, resuming after SIGKILL, what is refused."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import transformers
from filelock import FileLock
from peft import PeftModel

import cllora
from cllora.errors import UsageError
from cllora.runs.export import export_run
from cllora.spec import Study
from cllora.store import read_experiment, read_losses, read_partition, read_probe, read_rounds
from support.fixtures import needs_fork
from support.samples import NUM_TEXTS
from support.studies import interrupted, numbers, study_fields


@pytest.fixture(scope="session")
def finished(tiny_models, texts, tmp_path_factory):
    """The tiny study, run straight through."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return cllora.run(Study.parse(study_fields(tiny_models("opt"), texts)), folder)


def test_a_run_is_a_folder_with_what_the_design_lists(finished):
    cell = finished / "alpha=0.1,seed=0"
    assert {path.name for path in cell.iterdir()} == {
        "spec.json",
        "partition.parquet",
        "partition.json",
        "probes",
        "rounds.jsonl",
        "losses.parquet",
        "state.safetensors",
        "environment.json",
        "costs.json",
        "adapter",
    }
    assert {path.name for path in finished.iterdir() if path.is_file()} >= {"study.json", "pins.json"}
    rounds = read_rounds(cell)
    assert [record["round"] for record in rounds] == [0, 1, 2, 3]
    assert rounds[0]["clients"] == []
    assert rounds[1].keys() >= {"global_loss", "global_loss_per_sample", "clients", "bytes_up", "bytes_down", "seconds"}
    client = rounds[1]["clients"][0]
    assert client.keys() == {
        "client",
        "samples",
        "tokens",
        "steps",
        "train_loss",
        "local_loss",
        "bytes_up",
        "bytes_down",
        "seconds",
    }
    assert rounds[1]["bytes_up"] == 2 * client["bytes_up"] > 2 * 4 * 512
    environment = json.loads((cell / "environment.json").read_text())
    assert environment["communication"]["trainable_parameters"] == 2 * 2 * 2 * 2 * 32


def test_every_figure_is_a_group_by_over_the_loss_table(finished):
    cell = finished / "alpha=0.1,seed=0"
    losses, partition, rounds = read_losses(cell), read_partition(cell), read_rounds(cell)
    everyone = set(partition.global_test) | set(partition.test_ids)
    for record in rounds:
        table = losses[(losses["round"] == record["round"])]
        whole = table[table["model"] == "global"]
        assert set(whole["sample"]) == everyone
        assert len(whole) == len(everyone)
        tested = whole[whole["sample"].isin(partition.global_test)]
        assert record["global_loss"] == pytest.approx(tested["nll"].sum() / tested["tokens"].sum())
        assert record["global_loss_per_sample"] == pytest.approx((tested["nll"] / tested["tokens"]).mean())
        for client in record["clients"]:
            own = table[table["model"] == f"local/{client['client']}"]
            assert set(own["sample"]) == set(partition.global_test) | set(partition.test(client["client"]))
            mine = own[own["sample"].isin(partition.test(client["client"]))]
            assert client["local_loss"] == pytest.approx(mine["nll"].sum() / mine["tokens"].sum())


def test_nothing_is_both_trained_and_tested_on(finished):
    for alpha in ("0.1", "iid"):
        partition = read_partition(finished / f"alpha={alpha},seed=0")
        tested = set(partition.test_ids) | set(partition.global_test)
        assert not tested & set(partition.train_ids)
        assert len(tested) + len(partition.train_ids) == NUM_TEXTS
        assert (partition.class_of >= 0).all()


def test_cells_of_a_seed_are_tested_on_the_same_texts_from_the_same_start(finished):
    one, other = (finished / f"alpha={alpha},seed=0" for alpha in ("0.1", "iid"))
    assert np.array_equal(read_partition(one).global_test, read_partition(other).global_test)
    assert read_rounds(one)[0]["global_loss"] == read_rounds(other)[0]["global_loss"]
    assert read_rounds(one)[-1]["global_loss"] != read_rounds(other)[-1]["global_loss"]


def test_federation_lowers_the_loss(finished):
    for cell in finished.glob("*/rounds.jsonl"):
        rounds = read_rounds(cell.parent)
        assert rounds[-1]["global_loss"] < rounds[0]["global_loss"]


def test_every_round_says_how_its_updates_relate(finished):
    for cell in finished.glob("*/rounds.jsonl"):
        table = read_probe(cell.parent, "update_geometry")
        assert table["round"].unique().tolist() == [1, 2, 3]
        for record, (_, rows) in zip(read_rounds(cell.parent)[1:], table.groupby("round"), strict=True):
            of = {scope: rows[rows["scope"] == scope] for scope in ("all", "layer", "client", "pair")}
            assert of["client"]["client"].tolist() == [client["client"] for client in record["clients"]]
            assert of["client"][["norm", "drift"]].notna().all(axis=None)
            assert -1 <= of["pair"]["cosine"].item() == of["all"]["cosine"].item() <= 1
            assert 0 < of["all"]["averaging_error"].item() < 1
            assert [name.split(".")[-1] for name in of["layer"]["layer"]] == ["v_proj", "q_proj"] * 2


def test_the_final_adapter_loads_with_peft_and_gives_the_recorded_losses(finished, tiny_models, texts):
    import torch

    cell = finished / "alpha=iid,seed=0"
    model = transformers.AutoModelForCausalLM.from_pretrained(str(tiny_models("opt")), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, cell / "adapter").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny_models("opt")))
    rows = [json.loads(line)["text"] for line in texts.read_text().splitlines()]
    losses = read_losses(cell)
    last = losses[(losses["round"] == 3) & (losses["model"] == "global")].head(12)
    with torch.no_grad():
        for row in last.itertuples():
            ids = tokenizer(rows[row.sample], return_tensors="pt")["input_ids"][:, :64]
            found = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            assert found == pytest.approx(row.nll, rel=2e-5)


def test_export_as_adapter_and_merged_give_the_same_model(finished, tiny_models, tmp_path):
    import torch

    cell = finished / "alpha=iid,seed=0"
    adapter, merged = export_run(cell, tmp_path / "a"), export_run(cell, tmp_path / "m", merged=True)
    ids = torch.arange(10, 40)[None]
    base = transformers.AutoModelForCausalLM.from_pretrained(str(tiny_models("opt")), dtype=torch.float32)
    with torch.no_grad():
        apart = PeftModel.from_pretrained(base, adapter).eval()(input_ids=ids).logits
        joined = transformers.AutoModelForCausalLM.from_pretrained(merged).eval()(input_ids=ids).logits
    torch.testing.assert_close(apart, joined, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="exists already"):
        export_run(cell, tmp_path / "a")


def test_running_again_changes_nothing(finished, tiny_models, texts):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    cllora.run(Study.parse(study_fields(tiny_models("opt"), texts)), finished)
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    assert all(before[path] == when for path, when in after.items())


@pytest.mark.parametrize("strategy", ["fedadam", "scaffold", "ditto"])
def test_stopping_between_rounds_and_going_on_gives_the_same_numbers(strategy, tiny_models, texts, tmp_path):
    study = Study.parse(study_fields(tiny_models("opt"), texts, federation__strategy=strategy, grid={}, control={}))
    straight = cllora.run(study, tmp_path / "straight")
    for count in (0, 2):
        interrupted(study, tmp_path / "halting", round=count)
    assert numbers(cllora.run(study, tmp_path / "halting")) == numbers(straight)


# To import and to load for the first time take most of a short life, so one process does both and forks a runner for
# every line it is sent. It prints the runner's number and, when that is gone, how it ended.
SERVER = """
import gc, os, sys
import cllora, cllora.runs.cell, cllora.model.tokenizer, torch
from cllora.model.load import load_base
from cllora.presets import find_study
threads = torch.get_num_threads()
torch.set_num_threads(1)  # threads do not outlive a fork
first = find_study(sys.argv[1]).cells()[0].experiment
load_base(first.model, first.lora)
gc.collect()
gc.freeze()
for line in sys.stdin:
    study, folder = line.split()
    runner = os.fork()
    if runner == 0:
        torch.set_num_threads(threads)
        cllora.run(study, folder)
        os._exit(0)
    print(runner, flush=True)
    print(os.waitpid(runner, 0)[1], flush=True)
"""


@needs_fork
def test_killed_at_random_points_it_ends_with_the_same_numbers(finished, tiny_models, texts, tmp_path):
    """SIGKILL, again and again, each time after so many more writes, until the moments are spread over the run."""
    study = tmp_path / "study.yaml"
    study.write_text(Study.parse(study_fields(tiny_models("opt"), texts)).to_yaml())
    folder = tmp_path / "killed"
    dice = random.Random(1)
    words = [sys.executable, "-c", SERVER, str(study)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ends = []
    with server:
        while len(ends) < 8 and 0 not in ends:
            seen, writes = size(folder), dice.choice((1, 2)) if len(ends) < 5 else 6
            server.stdin.write(f"{study} {folder}\n")
            server.stdin.flush()
            runner = int(server.stdout.readline())
            patience = time.monotonic() + 10
            while writes and time.monotonic() < patience:
                time.sleep(0.005)
                now = size(folder)
                writes, seen = writes - (now != seen), now
            time.sleep(dice.uniform(0, 0.05))
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner, signal.SIGKILL)
            ends.append(int(server.stdout.readline()))
    assert ends.count(signal.SIGKILL) >= 5
    assert numbers(cllora.run(str(study), folder)) == numbers(finished)


def size(folder):
    """How much there is in a folder that another process writes to, and removes from, all the while."""
    total = 0
    for place, _, files in os.walk(folder):  # a folder that is gone by now counts as empty
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, file)).st_size + 1
    return total


def test_a_folder_that_holds_another_study_is_refused(finished, tiny_models, texts):
    before = numbers(finished)
    other = Study.parse(study_fields(tiny_models("opt"), texts, local__learning_rate=1e-3))
    with pytest.raises(UsageError, match="holds another study"):
        cllora.run(other, finished)
    assert numbers(finished) == before


def test_a_folder_in_use_is_refused(tiny_models, texts, tmp_path):
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(UsageError, match="another process"):
        cllora.run(Study.parse(study_fields(tiny_models("opt"), texts)), tmp_path / "busy")


def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_study_may_grow_by_seeds_and_values_and_keeps_what_is_there(finished, tiny_models, texts, tmp_path):
    folder, before = copied(finished, tmp_path), numbers(finished)
    grown = study_fields(tiny_models("opt"), texts, grid={"partition.alpha": [0.1, 1, "iid"]}, seeds=2)
    cllora.run(Study.parse(grown), folder)
    after = numbers(folder)
    assert len(after) == 6
    assert {name: after[name] for name in before} == before


def test_changed_texts_are_refused_and_nothing_is_touched(tiny_models, texts, tmp_path):
    """A resumed run must not go on with other texts under the same ids."""
    data = tmp_path / "texts.jsonl"
    lines = texts.read_text().splitlines(keepends=True)
    data.write_text("".join(lines))
    study = Study.parse(study_fields(tiny_models("opt"), data))
    interrupted(study, tmp_path / "out", round=1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    data.write_text("".join(lines[:-50][::-1]))
    with pytest.raises(UsageError, match="texts have changed"):
        cllora.run(study, tmp_path / "out")
    assert {path: path.read_bytes() for path in before} == before


def test_precision_is_that_of_the_studys_beginning(tiny_models, texts, tmp_path, monkeypatch):
    from cllora.model import device

    study = Study.parse(study_fields(tiny_models("opt"), texts, model__precision="auto"))
    monkeypatch.setattr(device, "automatic", lambda device: "float32")
    interrupted(study, tmp_path / "out", index=1)
    monkeypatch.setattr(device, "automatic", lambda device: "bfloat16")
    cllora.run(study, tmp_path / "out")
    found = [json.loads(path.read_text())["precision"] for path in (tmp_path / "out").glob("*/environment.json")]
    assert found == ["float32", "float32"]


def test_looking_at_a_run_changes_nothing(finished, tmp_path):
    """An export between the last line and the state of a round must not remove that line."""
    cell = copied(finished, tmp_path) / "alpha=iid,seed=0"
    with (cell / "rounds.jsonl").open("a") as file:
        file.write('{"round": 4, "clients": []}\n')
    shutil.copy(cell / "losses.parquet" / "round-00003.parquet", cell / "losses.parquet" / "round-00004.parquet")
    before = {path: path.read_bytes() for path in cell.rglob("*") if path.is_file()}
    export_run(cell, tmp_path / "exported")
    assert {path: path.read_bytes() for path in cell.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.safetensors", b""),
        ("state.safetensors", b"{broken"),
        ("rounds.jsonl", b'{"round": 0}\n{brok\n'),
        ("rounds.jsonl", b'{"round": 0, "clients": []}\n'),
        ("spec.json", b"[1]"),
        ("losses.parquet/round-00001.parquet", None),
    ],
)
def test_a_damaged_run_is_one_line_that_names_it(finished, tiny_models, texts, tmp_path, name, content):
    folder = copied(finished, tmp_path)
    damaged = folder / "alpha=0.1,seed=0" / name
    damaged.unlink() if content is None else damaged.write_bytes(content)
    with pytest.raises(UsageError, match=r"alpha=0\.1") as caught:
        cllora.run(Study.parse(study_fields(tiny_models("opt"), texts)), folder)
    assert "\n" not in str(caught.value)


def test_spec_json_is_the_experiment(finished):
    cell = finished / "alpha=0.1,seed=0"
    experiment = read_experiment(cell)
    assert experiment.partition.options == {"alpha": 0.1}
    assert experiment.to_json() + "\n" == (cell / "spec.json").read_text()


def test_ditto_ends_with_a_personal_adapter_for_every_client(tiny_models, texts, tmp_path):
    study = Study.parse(study_fields(tiny_models("opt"), texts, federation__strategy="ditto", grid={}, control={}))
    cell = cllora.run(study, tmp_path / "ditto") / "seed=0"
    losses, partition = read_losses(cell), read_partition(cell)
    personal = losses[losses["model"].str.startswith("personal/")]
    assert set(personal["round"]) == {3}
    assert set(personal["model"]) == {f"personal/{k}" for k in range(6)}
    assert len(personal) == len(partition.test_ids)
