"""What is on disk has one definition, the fields of a dataclass: there and back, old folders too."""

from dataclasses import replace

import numpy as np
import pytest

from cllora import errors
from cllora.errors import UsageError
from cllora.store import read_environment, read_json, read_partition, write_json, write_partition
from cllora.types import Environment, Heterogeneity, Origin, from_plain, to_plain
from support.synthetic import environment, make_partition, make_study

EXPERIMENT = make_study(clients=4).cells()[0].experiment


@pytest.fixture
def folder(tmp_path):
    write_partition(tmp_path, make_partition(EXPERIMENT))
    write_json(tmp_path / "environment.json", environment(EXPERIMENT))
    return tmp_path


def test_a_partition_is_read_as_it_was_written(folder):
    partition, again = make_partition(EXPERIMENT), read_partition(folder)
    assert again.heterogeneity == partition.heterogeneity
    assert again.contexts is None
    assert np.array_equal(again.train_ids, partition.train_ids)
    described = read_json(folder / "partition.json")["classes"]["described"]
    assert described[0]["from"] is None
    assert "from_" not in described[0]
    assert "corrupted" not in read_json(folder / "partition.json")


def test_the_contexts_of_clients_are_read_from_what_is_measured_of_them(folder):
    measured = read_partition(folder).heterogeneity
    clients = replace(measured.clients, contexts=(8, 16, 8, 16), tokens_in_context=(1, 2, 3, 4))
    write_json(folder / "partition.json", to_plain(replace(measured, clients=clients)))
    assert [read_partition(folder).context(k) for k in range(4)] == [8, 16, 8, 16]


def test_a_partition_that_was_not_measured_is_read_and_has_no_heterogeneity(folder):
    write_partition(folder, replace(make_partition(EXPERIMENT), measured=None))
    assert read_json(folder / "partition.json") == {}
    with pytest.raises(ValueError, match="was not measured"):
        _ = read_partition(folder).heterogeneity


def test_what_a_folder_of_another_version_has_or_lacks_is_no_damage(folder):
    written = read_json(folder / "partition.json")
    del written["moved"], written["without_owner"]
    write_json(folder / "partition.json", {**written, "of a later version": 1})
    assert read_partition(folder).heterogeneity.moved == 0
    write_json(folder / "environment.json", {"versions": {"python": "3.11"}, "later": {}})
    assert read_environment(folder) == Environment(versions={"python": "3.11"})
    (folder / "environment.json").unlink()
    assert read_environment(folder) == Environment()


def test_a_damaged_file_is_named_with_its_field(folder):
    written = read_json(folder / "partition.json")
    del written["clients"]
    write_json(folder / "partition.json", written)
    with pytest.raises(UsageError, match=r"partition\.json is damaged: clients: there is no value here"):
        read_partition(folder)


def test_an_environment_is_written_as_it_is_read():
    record = {
        "versions": {"python": "3.11"},
        "hardware": {"cpu": "one", "cores": 2, "threads": 2, "device": "cpu"},
        "precision": "float32",
        "data": {"fingerprint": "ab", "samples": 9, "dropped": {"empty": 1}},
        "communication": {"trainable_parameters": 8, "full_parameters": 80, "message_bytes": 99, "full_bytes": 320},
        "model": {"name": "embedded", "type": "gpt2", "fingerprint": "cd", "lora_on": ["q_proj"]},
        "attention": {"training": {"name": "s2", "group": 8}, "evaluation": {"name": "full", "group": None}},
    }
    read = from_plain(Environment, record, "here")
    assert list(to_plain(read).items()) == list(record.items())
    assert from_plain(Origin, {"file": "x.gguf", "said": {"name": "x"}}, "here").types == {}


def test_the_old_name_of_what_was_realised_still_reads(caplog):
    errors.deprecated.cache_clear()
    partition = make_partition(EXPERIMENT)
    with caplog.at_level("WARNING", "cllora"):
        assert partition.realised["samples"]["gini"] == partition.heterogeneity.samples.gini
    assert "Partition.heterogeneity" in caplog.text
    assert from_plain(Heterogeneity, partition.realised, "here") == partition.heterogeneity
