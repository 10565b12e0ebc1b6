"""The command line as a user meets it: what works, and that every mistake ends in one line and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.fixtures import refused
from support.studies import study_fields

GOOD_ROWS = [{"text": f"Return the value of column {row} or raise an error.", "n": row} for row in range(200)]


@pytest.fixture
def study_file(tiny_models, tmp_path):
    """A function that writes a study over a good data file, changed by fields, and returns its path."""
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in GOOD_ROWS))

    def write(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study_fields(tiny_models("opt"), data, **changes)))
        return path

    return write


def test_run_prints_the_table_and_where_the_report_is(command, study_file, tmp_path):
    code, out, err = command("run", study_file(), "--out", tmp_path / "out")
    assert code == 0, err
    assert "iid" in out
    assert "Report: " in out
    assert (tmp_path / "out" / "report.html").exists()
    assert max(len(line) for line in out.splitlines() if "Report: " not in line) <= 80


def test_json_is_for_machines_and_export_writes_an_adapter(command, study_file, tmp_path):
    code, out, _ = command("run", study_file(grid={}, control={}), "--out", tmp_path / "out", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["results"]
    assert json.loads(command("report", tmp_path / "out", "--json")[1])["results"] == found["results"]
    assert json.loads(command("list", "strategies", "--json")[1])["strategies"]["fedadam"]["options"]["tau"] == 0.001
    assert json.loads(command("partition", study_file(), "--json")[1])
    code, _, err = command("export", tmp_path / "out" / "seed=0", "--out", tmp_path / "adapter")
    assert code == 0, err
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    refused(command("export", tmp_path / "nothing"), "not the folder of a run")


def test_partition_shows_who_gets_what_and_trains_nothing(command, study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("partition", study_file())
    assert code == 0, err
    assert "alpha=0.1" in out
    assert "alpha=iid" in out
    assert not (tmp_path / "runs").exists()


def test_show_prints_a_study_that_reads_back_as_itself(command, tmp_path):
    code, out, _ = command("show", "paper/quantity", "--set", "model.context=64", "--set", "partition.alpha=[1, iid]")
    assert code == 0
    (tmp_path / "mine.yaml").write_text(out)
    assert command("show", tmp_path / "mine.yaml")[1] == out
    assert yaml.safe_load(out)["grid"] == {"partition.alpha": [1, "iid"]}


def test_a_control_is_set_by_its_field(command):
    axis = ("--set", "grid.partition.alpha=[1, 5]", "--set", "control.partition.alpha=5")
    code, out, err = command("show", "paper/quantity", *axis)
    assert code == 0, err
    assert yaml.safe_load(out)["control"] == {"partition.alpha": 5}


def test_an_interruption_is_one_line_that_says_how_to_go_on(command, study_file, tmp_path, monkeypatch):
    from cllora.runs import cell

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cell, "assign", interrupted)
    code, _, err = command("run", study_file(), "--out", tmp_path / "out")
    assert code == 130
    assert err.splitlines()[-1] == "cllora: stopped; the same command goes on after the last whole round"


def test_an_axis_is_changed_and_added_by_its_field(command):
    code, out, _ = command(
        "show", "paper/quantity", "--set", "grid.partition.alpha=[1, iid]", "--set", "grid.lora.r=[1, 2]"
    )
    assert code == 0
    assert yaml.safe_load(out)["grid"] == {"partition.alpha": [1, "iid"], "lora.r": [1, 2]}


def test_list_names_every_member(command):
    from cllora.catalog import registries

    code, out, _ = command("list")
    assert code == 0
    for kind, registry in registries().items():
        assert kind in out
        for name in registry.names():
            assert name in out
            assert registry.help(name), f"{kind} {name} has no docstring"


def test_help_is_quick():
    done = subprocess.run([sys.executable, "-m", "cllora", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "partition" in done.stdout


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("model.name=/nowhere/model", ["model.name: there is no folder /nowhere/model"]),
        ("model.context=129", ["129", "128 positions"]),
        ("model.contxt=64", ["model.contxt", "did you mean 'context'"]),
        ("modl.context=64", ["modl", "did you mean 'model'"]),
        ("data.text=txt", ["txt", "text"]),
        ("data.path=missing.jsonl", ["missing.jsonl"]),
        ("partition.alpha=0", ["alpha", "positive number or iid"]),
        ("partition.alpha=-1", ["alpha", "positive number or iid"]),
        ("partition.alpha=.nan", ["alpha", "positive number or iid"]),
        ("partition.alpha=iit", ["alpha", "positive number or iid"]),
        ("partition.scheme=client_mx", ["did you mean 'client_mix'"]),
        ("partition.by=lenght", ["did you mean 'length'"]),
        ("partition.budgt=tokens", ["did you mean 'budget'"]),
        ("partition.num_clients=500", ["500"]),
        ("grid=[partition.alpha]", ["grid", "list of values"]),
        ("grid={partition.alpha: iid}", ["grid", "list of values"]),
        ("grid={seed: [1, 2]}", ["seeds are no axis"]),
        ("seeds=99999999999", ["seeds"]),
        ("lora.target_modules=[embed_tokens]", ["embedding"]),
        ("lora.target_modules=[q_proj, lm_head]", ["head"]),
        ("federation.clients_per_round=7", ["clients_per_round is 7", "num_clients is 6"]),
        ("federation.strategy=fedavgg", ["did you mean 'fedavg'"]),
        ("federation.num_rounds=0", ["num_rounds"]),
        ("local.learning_rate=.inf", ["learning_rate"]),
        ("local.epochs=many", ["epochs"]),
        ("lora.target_modules=[query]", ["target_modules"]),
        ("lora.r=0", ["lora.r"]),
        ("seeds=[]", ["seeds"]),
        ("control.partition.alpha=7", ["partition"]),
        ("nonsense", ["section.field=value"]),
        ("load=[mine.py]", ["mine.py"]),
        ("model.device=cuda", ["GPU"]),
    ],
)
def test_every_mistake_in_a_study_is_one_line_and_nothing_is_lost(command, study_file, tmp_path, setting, parts):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    out = tmp_path / "out"
    refused(command("run", study_file(), "--set", setting, "--out", out), *parts)
    assert kept.read_text() == "mine"
    assert not list(out.rglob("state.safetensors"))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{"text": "one two"}\n{"text": "three"\n', ["line 2"]),
        (b'{"text": "one two"}\n{"text": "caf\xe9 au lait"}\n', ["line 2", "UTF-8"]),
        (b"", ["data.jsonl"]),
        (b'{"text": ""}\n{"text": 5}\n', ["no usable rows"]),
    ],
)
def test_a_bad_data_file_is_one_line(command, study_file, tmp_path, content, parts):
    study = study_file()
    (tmp_path / "data.jsonl").write_bytes(content)
    refused(command("run", study, "--out", tmp_path / "out"), *parts)


def test_unusable_rows_are_dropped_with_a_printed_count(command, study_file, tmp_path):
    study = study_file()
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write('{"text": "  "}\n{"text": 7}\n{"text": ""}\n')
    code, _, err = command("partition", study)
    assert code == 0
    said = "2 empty (column 'text'), such as '  '; 1 not text (column 'text'), such as 7"
    assert f"cllora: 3 rows cannot be used and were dropped: {said}" in err


def test_a_strategy_that_explodes_is_one_line_and_keeps_the_rounds_before(command, study_file, tmp_path):
    study = study_file(grid={}, control={}, federation__strategy={"name": "fedadam", "server_lr": 1e38})
    refused(command("run", study, "--out", tmp_path / "out"), "round 1", "not finite")
    assert len((tmp_path / "out" / "seed=0" / "rounds.jsonl").read_text().splitlines()) == 1


def test_testing_on_what_is_trained_on_is_refused(command, study_file, tmp_path):
    study = study_file()
    test = f"data.test={tmp_path / 'data.jsonl'}"
    refused(command("run", study, "--set", test, "--out", tmp_path / "out"), "what is trained on")


def test_a_text_source_takes_the_place_of_a_presets(command, tmp_path):
    code, out, err = command("show", "demo", "--set", "data.path=mine.jsonl")
    assert code == 0, err
    assert yaml.safe_load(out)["data"]["path"] == "mine.jsonl"
    assert "corpus" not in yaml.safe_load(out)["data"]


def test_unknown_studies_kinds_and_folders(command, tmp_path):
    refused(command("run", "dem"), "did you mean 'demo'")
    refused(command("run", tmp_path / "none.yaml"), "none.yaml")
    refused(command("list", "strateges"), "did you mean 'strategies'")
    refused(command("report", tmp_path), str(tmp_path))
    (tmp_path / "broken.yaml").write_text("model: [")
    refused(command("run", tmp_path / "broken.yaml"), "not YAML")
    (tmp_path / "list.yaml").write_text("- 1")
    refused(command("run", tmp_path / "list.yaml"), "mapping")


def test_a_folder_that_cannot_be_written_is_one_line(command, study_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(command("run", study_file(), "--out", tmp_path / "file" / "out"), "cannot write", "--out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(command, study_file, tmp_path, monkeypatch):
    from cllora.store import files

    real = files.os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 10:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    study, out = study_file(grid={}, control={}), tmp_path / "out"
    refused(command("run", study, "--out", out), "No space left")
    code, _, err = command("run", study, "--out", out)
    assert code == 0, err
    assert len((out / "seed=0" / "rounds.jsonl").read_text().splitlines()) == 4


def test_own_strategy_from_a_file(command, study_file, tmp_path):

    mine = tmp_path / "mine.py"
    mine.write_text(
        "import numpy as np\n"
        "from cllora.federated import Strategy, strategies\n"
        "@strategies.register()\n"
        "def fedmedian(num_clients: int) -> Strategy:\n"
        '    """The median of the clients\' adapters."""\n'
        "    def join(state, updates):\n"
        '        return {"adapter": np.median([u.sent["adapter"] for u in updates], axis=0).astype(np.float32)}\n'
        "    return Strategy(join)\n"
    )
    study = study_file(grid={}, control={}, load=[str(mine)], federation__strategy="fedmedian")
    code, _, err = command("run", study, "--out", tmp_path / "out")
    assert code == 0, err
    spec = json.loads(Path(tmp_path / "out" / "seed=0" / "spec.json").read_text())
    assert spec["federation"]["strategy"]["name"] == "fedmedian"
