"""A study over doses: who trains on what, what is tested on, and what the folder and the report say of it."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import cllora
from cllora.analysis import results as read_runs
from cllora.corpus import load_samples
from cllora.partition import assign
from cllora.reports import partition_view
from cllora.spec import DataSpec, Experiment, Study
from cllora.store import read_json
from support.corpus import ByteTokenizer
from support.samples import NUM_TEXTS
from support.studies import study_fields

SHARES = (0, 0.3, 1)


def dealt(texts, tmp_path, share, kind="shuffle_words", **partition):
    data = {"path": str(texts), "corrupt": {"kind": kind, "share": share}}
    fields = {"num_clients": 6, "by": "corrupted", "classes": 2, "alpha": 0.1, "min_samples": 5, "local_test": 0.2}
    experiment = Experiment.parse({"model": {"context": 64}, "data": data, "partition": {**fields, **partition}})
    samples = load_samples(DataSpec.model_validate(data), ByteTokenizer(), cache=tmp_path)
    return experiment, samples, assign(experiment, samples)


def test_only_what_is_trained_on_is_corrupted_and_tests_are_the_same_at_every_share(texts, tmp_path):
    found = [dealt(texts, tmp_path, share)[1:] for share in SHARES]
    assert len({samples.fingerprint for samples, _ in found}) == 1
    n = found[0][0].originals
    assert n == NUM_TEXTS
    tests = [partition.global_test.tolist() for _, partition in found]
    assert tests[0] == tests[1] == tests[2]
    for share, (samples, partition) in zip(SHARES, found, strict=True):
        assert max(partition.test_ids.max(), partition.global_test.max()) < n
        own = partition.train_ids % n
        assert (samples.trained(own) == partition.train_ids).all()
        everything = np.concatenate([own, partition.test_ids, partition.global_test])
        assert sorted(everything.tolist()) == list(range(n))
        assert (partition.train_ids >= n).mean() == pytest.approx(share, abs=0.12)
        assert partition.class_of[partition.test_ids].max() == 0


def test_an_iid_deal_gives_the_same_texts_to_the_same_clients_at_every_share(texts, tmp_path):
    partitions = []
    for share in SHARES:
        data = {"path": str(texts), "corrupt": {"kind": "truncate", "share": share}}
        experiment = Experiment.parse({"data": data, "partition": {"scheme": "iid", "num_clients": 6}})
        samples = load_samples(DataSpec.model_validate(data), ByteTokenizer(), cache=tmp_path)
        partitions.append(assign(experiment, samples))
    assert len({tuple(partition.train_ids % NUM_TEXTS) for partition in partitions}) == 1
    assert len({tuple(partition.test_ids) for partition in partitions}) == 1


def test_the_dose_is_recorded_for_every_client(texts, tmp_path):
    experiment, samples, partition = dealt(texts, tmp_path, 0.3)
    corrupted = partition.heterogeneity.corrupted
    sizes = np.array(partition.heterogeneity.clients.samples)
    pool = np.setdiff1d(np.arange(NUM_TEXTS), partition.global_test)
    assert corrupted.share == pytest.approx((samples.trained(pool) != pool).mean())
    assert (np.array(corrupted.doses) * sizes).sum() == pytest.approx(corrupted.share * len(pool))
    assert max(corrupted.doses) - min(corrupted.doses) > 0.5
    console = Console(width=100, file=io.StringIO())
    console.print(partition_view(partition, experiment))
    shown = console.file.getvalue()
    assert "corrupted" in shown
    assert f"{max(corrupted.doses):.0%}" in shown


def test_lengths_are_those_of_the_corrupted_texts(texts, tmp_path):
    _, samples, partition = dealt(texts, tmp_path, 1, kind="truncate", by="length", classes=5)
    assert partition.heterogeneity.corrupted.doses == (1.0,) * 6
    seen = sum(partition.heterogeneity.clients.tokens)
    pool = np.setdiff1d(np.arange(NUM_TEXTS), partition.global_test)
    assert seen == samples.seen(samples.trained(pool), 64).sum() < samples.seen(pool, 64).sum()


def test_a_study_over_doses_compares_equal_data_and_goes_on(tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, partition__by="corrupted", partition__classes=2)
    fields["data"] = {**fields["data"], "corrupt": {"kind": "noise_characters", "share": 0.5, "strength": 0.4}}
    fields["partition"] = {**fields["partition"], "alpha": 0.5, "and_by": "length", "and_alpha": 1}
    fields["federation"]["num_rounds"] = 2
    fields["grid"], fields["control"] = {"data.corrupt.share": [0, 0.5]}, {"data.corrupt.share": 0}
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    runs = read_runs(folder)
    assert len({run.fingerprint for run in runs.members}) == 1
    assert len(list(folder.glob("base-*.npy"))) == 1
    assert runs.contrasts("late_loss")["seeds"].tolist() == [1]
    tables = [pd.read_parquet(folder / f"share={share},seed=0" / "partition.parquet") for share in ("0", "0.5")]
    owned = [table[table["client"] >= 0] for table in tables]
    assert owned[0]["sample"].max() < NUM_TEXTS <= owned[1]["sample"].max()
    everyone = [table[table["client"] < 0]["sample"].tolist() for table in tables]
    assert everyone[0] == everyone[1]
    assert read_json(folder / "share=0.5,seed=0" / "environment.json")["data"]["samples"] == NUM_TEXTS
    page = cllora.report(folder).read_text()
    assert "noise_characters(strength=0.4)" in page
    assert "share of texts corrupted" in page
