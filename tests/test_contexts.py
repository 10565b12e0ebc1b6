"""Clients that see texts up to contexts of their own: each as it would be alone, in company and in a whole study."""

import io

import numpy as np
import pytest
from rich.console import Console

import cllora
from cllora.analysis import results as read_runs
from cllora.errors import UsageError
from cllora.model import learner as module
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import FULL, pattern_of
from cllora.partition.contexts import contexts_of_clients, tokens_in_contexts
from cllora.reports import partition_view
from cllora.runs.partitions import partitions_of
from cllora.spec import Choice, Experiment, LocalSpec, LoraSpec, ModelSpec, Study
from cllora.store import read_json, read_losses, read_partition, read_rounds
from cllora.types import Job, Partition, Work
from support.reports import section
from support.samples import made_up_samples
from support.studies import study_fields

CONTEXTS = (8, 40, 23)
SGD = LocalSpec(batch_size=5, optim="sgd", learning_rate=0.05)


def learner_of(folder, context, pattern=FULL):
    model = ModelSpec(name=str(folder), context=context, precision="float32", device="cpu")
    return Learner(load_base(model, LoraSpec(lora_dropout=0.2)), made_up_samples(), context, pattern)


def jobs_of(learner, contexts):
    """A job for each context; a larger one first, so that slots are in another order than jobs."""
    cut = np.split(np.arange(40), (7, 16))
    start = np.random.default_rng(0).normal(0, 0.1, learner.layout.size).astype(np.float32)
    return [
        Job(Work(start, gradient=True), ids, ("x", number), context)
        for number, (ids, context) in enumerate(zip(cut, contexts, strict=True))
    ]


@pytest.mark.parametrize(("family", "pattern"), [("opt", FULL), ("llama", pattern_of(Choice(name="s2", group=6), 40))])
def test_each_is_what_it_would_be_with_its_context_as_the_models(family, pattern, tiny_models, monkeypatch):
    """One by one to the last bit, in shared passes but for rounding."""
    learner = learner_of(tiny_models(family), 40, pattern)
    jobs = jobs_of(learner, CONTEXTS)
    together = learner.train(jobs, SGD, 0)
    assert [len(group) for group in learner.groups(jobs, SGD)] == [3]
    monkeypatch.setitem(module.TOGETHER, "cpu", 0)
    one_by_one = learner.train(jobs, SGD, 0)
    for k, (job, context) in enumerate(zip(jobs, CONTEXTS, strict=True)):
        short = learner_of(tiny_models(family), context, pattern)
        alone = short.train([Job(job.work, job.ids, job.name)], SGD, 0)[0]
        assert np.array_equal(one_by_one[k].adapter, alone.adapter)
        assert np.array_equal(one_by_one[k].gradient, alone.gradient)
        assert together[k].loss == pytest.approx(alone.loss, rel=1e-5)
        np.testing.assert_allclose(together[k].adapter, alone.adapter, rtol=1e-4, atol=1e-6)
        assert together[k].tokens == alone.tokens == short.samples.predicted(job.ids, context).sum()
    moved = learner.train(jobs_of(learner, (40, 40, 40)), SGD, 0)
    assert not np.allclose(moved[0].adapter, together[0].adapter, atol=1e-4)
    assert np.array_equal(moved[1].adapter, one_by_one[1].adapter)


def test_company_is_chosen_by_what_is_seen(tiny_models, monkeypatch):
    learner = learner_of(tiny_models("opt"), 40)
    monkeypatch.setitem(module.TOGETHER, "cpu", 120)
    grouped = [[len(group) for group in learner.groups(jobs_of(learner, c), SGD)] for c in ((40,) * 3, (8,) * 3)]
    assert grouped == [[1, 1, 1], [3]]


def test_a_study_in_which_every_other_client_sees_less(tiny_models, texts, tmp_path):
    """Who sees what is on record; weights, tokens and evaluation are as they should be; the page says it."""
    fields = study_fields(tiny_models("opt"), texts, local__contexts=[16, 64], grid={}, control={})
    fields["federation"] = {"num_rounds": 1, "clients_per_round": 6}
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    (cell,) = (path.parent for path in folder.glob("*/spec.json"))
    partition, clients = read_partition(cell), read_json(cell / "partition.json")["clients"]
    assert clients["contexts"] == [16, 64] * 3
    assert [partition.context(k) for k in range(6)] == [16, 64] * 3
    run = read_runs(folder).members[0]
    losses = read_losses(cell)
    assert losses[losses["model"] == "global"]["tokens"].max() == 63
    for client in read_rounds(cell)[1]["clients"]:
        k = client["client"]
        assert client["samples"] == len(partition.train(k))
        seen = clients["tokens_in_context"][k]
        assert client["tokens"] == seen - client["samples"]  # but a text's first token all are predicted
        assert seen <= client["samples"] * clients["contexts"][k]
    assert section("client_spread", read_runs(folder)).table["context"].tolist() == [16, 64] * 3
    console = Console(width=100, file=io.StringIO())
    console.print(partition_view(partition, run.experiment))
    heading, _, first = console.file.getvalue().splitlines()[2:5]
    assert heading.split()[-3:] == ["cut", "at", "seen"]
    assert first.split()[-2:] == ["16", f"{clients['tokens_in_context'][0]:,}"]
    assert "16 and 64, in turn" in section("design", read_runs(folder)).table["value"].tolist()


def test_owners_by_name(tiny_models, texts):
    fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, partition__num_clients=4)
    fields["partition"] |= {"scheme": "natural", "column": "owner"}

    def dealt(contexts):
        study = Study.parse({**fields, "local": {"contexts": contexts}})
        return partitions_of([cell.experiment for cell in Study.parse(study.to_mapping()).cells()])[0]

    found = dealt({"owner-2": 9, "owner-0": 20}).heterogeneity.clients
    assert dict(zip(found.names, found.contexts, strict=True)) == {
        "owner-0": 20,
        "owner-1": 64,
        "owner-2": 9,
        "owner-3": 64,
    }
    with pytest.raises(UsageError, match=r"no client is called 'owner2'; did you mean 'owner-2'"):
        dealt({"owner2": 9})


def test_what_cannot_be_is_refused():
    samples = made_up_samples(prompts=True)
    far = np.flatnonzero(samples.prompts > 8)

    def with_ids(ids, contexts):
        nothing = np.zeros(0, np.int64)
        ends = np.array([0, len(far), len(far) + len(ids)])
        own = contexts_of_clients(contexts, 2, None, 64)
        return tokens_in_contexts(
            Partition(np.concatenate([far, ids]), ends, nothing, [], nothing, contexts=own), samples
        )

    assert with_ids(np.arange(9), [60, 8])[1] == samples.seen(np.arange(9), 8).sum()
    with pytest.raises(UsageError, match=r"local\.contexts: within 8 tokens no text of client 0 has a token left"):
        with_ids(np.arange(9), [8, 60])
    with pytest.raises(UsageError, match=r"local\.contexts: clients have no names"):
        with_ids(np.arange(9), {"alice": 8})


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([64, 512], r"local.contexts has 512, but model.context is 128"),
        ({"alice": 512}, r"local.contexts has 512, but model.context is 128"),
        ([], r"local.contexts"),
        ({}, r"local.contexts"),
        ([1], r"local.contexts"),
        (64, r"local.contexts: give a list, such as \[64, 128\], or a context for each owner"),
    ],
)
def test_what_are_no_contexts_is_refused(contexts, message):
    with pytest.raises(UsageError, match=message):
        Experiment.parse({"local": {"contexts": contexts}})


def test_an_experiment_without_contexts_is_written_as_before():
    assert "contexts" not in Experiment().model_dump(mode="json")["local"]
    for contexts in ([16, 64], {"alice": 16}):
        experiment = Experiment.parse({"local": {"contexts": contexts}})
        assert Experiment.parse(experiment.model_dump(mode="json")) == experiment
        assert experiment.id != Experiment().id
