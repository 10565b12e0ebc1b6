"""Studies by features other than length, on a tiny model: dealt, run, resumed, and each text asked for once."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
import transformers

import cllora
from cllora import cli
from cllora.corpus import BaseLosses, feature_values
from cllora.errors import UsageError
from cllora.model import load
from cllora.model.learner import Learner
from cllora.partition import rank_correlation
from cllora.runs.partitions import partitions_of
from cllora.runs.study_cache import StudyCache
from cllora.spec import Study
from cllora.store import read_json, read_losses, read_partition
from support.samples import WORDS
from support.studies import interrupted, study_fields


@pytest.fixture(scope="session")
def varied_texts(tmp_path_factory):
    """400 made-up texts of 7 to 63 words; each draws from its own 2 to 12 words, and is about one of two things."""
    draw = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("texts") / "varied.jsonl"
    with path.open("w") as file:
        for row in range(400):
            own = draw.choice(WORDS, draw.integers(2, 13), replace=False)
            about = ["tree", "leaf", "root"] if row % 3 else ["port", "socket", "server"]
            words = [*draw.choice(own, draw.integers(4, 61)), *draw.choice(about, 3)]
            file.write(json.dumps({"text": " ".join(words)}) + "\n")
    return path


def study(model, texts, by, residual_on=None, **changes):
    fields = study_fields(model, texts, **changes)
    fields["partition"] = {**fields["partition"], "by": by, "residual_on": residual_on}
    return Study.parse(fields)


def lengths_of(model, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    return np.array([len(tokenizer(json.loads(line)["text"])["input_ids"]) for line in texts.read_text().splitlines()])


def test_a_study_by_lexical_diversity_at_equal_length(tiny_models, varied_texts, tmp_path):
    going = study(tiny_models("opt"), varied_texts, "mtld", "length", federation__num_rounds=1)
    folder = cllora.run(going, tmp_path / "out")
    lengths = lengths_of(tiny_models("opt"), varied_texts)
    for alpha in ("0.1", "iid"):
        cell = folder / f"alpha={alpha},seed=0"
        realised = read_json(cell / "partition.json")
        assert abs(realised["length_correlation"]["residual"]) < 0.1
        classes = read_partition(cell).class_of
        assert set(classes) == {0, 1, 2, 3, 4}
        assert abs(rank_correlation(classes, lengths)) < 0.12
        assert [one["samples"] for one in realised["classes"]["described"]] == pytest.approx([72] * 5, abs=8)
        assert np.isfinite(read_losses(cell)["nll"]).all()
    skewed = read_json(folder / "alpha=0.1,seed=0" / "partition.json")
    assert skewed["largest_class_share_mean"] > 0.5
    assert cllora.results(folder).feature == "mtld (threshold = 0.72), place among texts of its length"


def test_topics_are_classes(tiny_models, varied_texts):
    asked = study(tiny_models("opt"), varied_texts, {"name": "topic", "topics": 2}, grid={}, control={})
    dealt = partitions_of([asked.cells()[0].experiment])[0]
    described = dealt.heterogeneity.classes.described
    assert [(one.min, one.max) for one in described] == [(0, 0), (1, 1)]
    assert dealt.heterogeneity.length_correlation is None
    about = np.array(
        ["tree" in text or "leaf" in text or "root" in text for text in varied_texts.read_text().splitlines()]
    )
    assert np.array_equal(dealt.class_of, 1 - about)


def test_more_topics_than_classes_are_refused(tiny_models, varied_texts):
    fields = study_fields(tiny_models("opt"), varied_texts, partition__by="topic")
    fields["partition"]["classes"] = 2
    with pytest.raises(UsageError, match=r"topic has 5 classes, .* set partition.classes to 5 or more"):
        partitions_of([Study.parse(fields).cells()[0].experiment])


def test_what_is_left_of_length_is_warned_of(tiny_models, varied_texts):
    """Most texts have no run of five words twice, and some of the long ones have."""
    said = []
    for by in ({"name": "repetition", "n": 5}, "mtld"):
        asked = study(tiny_models("opt"), varied_texts, by, "length", grid={}, control={})
        dealt = partitions_of([asked.cells()[0].experiment])[0].heterogeneity
        said.append(any("still goes with length" in sentence for sentence in dealt.warnings))
        assert said[-1] == (abs(dealt.length_correlation.residual) >= 0.1)
    assert said == [True, False]


@pytest.fixture
def asked(monkeypatch):
    """How often the base is loaded, and how often its loss on each of a study's samples is asked for."""
    loads, samples = Counter(), Counter()
    load_base, evaluate = load.load_base, Learner.evaluate

    def loading(*args):
        loads["base"] += 1
        return load_base(*args)

    def evaluating(self, model, adapter, ids, context=None):
        if self.is_base(adapter):
            samples.update((self.samples.fingerprint, int(i)) for i in ids)
        return evaluate(self, model, adapter, ids, context)

    monkeypatch.setattr(load, "load_base", loading)
    monkeypatch.setattr(Learner, "evaluate", evaluating)
    return loads, samples


def test_perplexity_is_the_base_loss_and_is_measured_once(tiny_models, varied_texts, tmp_path, asked):
    going = study(tiny_models("opt"), varied_texts, "perplexity", seeds=2, federation__num_rounds=1)
    folder = cllora.run(going, tmp_path / "out")
    loads, samples = asked
    assert loads["base"] == 1
    assert len(samples) == 400
    assert set(samples.values()) == {1}  # round 0 of all four cells found them known
    cell = folder / "alpha=0.1,seed=1"
    first = read_losses(cell).query("round == 0 and model == 'global'").set_index("sample")
    mean = (first["nll"] / first["tokens"]).to_numpy()
    classes = read_partition(cell).class_of[first.index]
    for c in range(4):
        assert mean[classes == c].max() <= mean[classes == c + 1].min()


def test_prefix_ifd_is_the_ratio_of_two_losses_of_stock_transformers(tiny_models, varied_texts, tmp_path):
    import torch

    cell = study(tiny_models("opt"), varied_texts, "prefix_ifd", grid={}, control={}).cells()[0].experiment
    cache = StudyCache(tmp_path, None)
    samples = cache.samples(cell)
    base = cache.engine(cell, samples)

    def nll(other, ids):
        return base.over(other).evaluate("base", base.initial(0), ids).nll

    found = feature_values(samples, cell.partition.by, 64, BaseLosses("tiny", nll))
    model = transformers.AutoModelForCausalLM.from_pretrained(str(tiny_models("opt")), dtype=torch.float32).eval()

    def loss(tokens, first):
        labels = torch.tensor([[-100] * first + tokens[first:]])
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([tokens]), labels=labels).loss)

    for i in range(0, 400, 40):
        tokens = samples.tokens_of(i, 64).tolist()
        k = min(16, len(tokens) // 2)
        expected = loss(tokens, k) / loss([tokens[0], *tokens[k:]], 1)
        assert found[i] == pytest.approx(expected, rel=1e-4)


def test_partition_alone_loads_the_base_once_and_leaves_nothing(
    tiny_models, varied_texts, tmp_path, asked, monkeypatch, capsys
):
    path = tmp_path / "study.yaml"
    path.write_text(study(tiny_models("opt"), varied_texts, "prefix_ifd").to_yaml())
    monkeypatch.setattr(sys, "argv", ["cllora", "partition", str(path), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    dealt = json.loads(capsys.readouterr().out)
    assert list(dealt) == ["alpha=0.1,seed=0", "alpha=iid,seed=0"]
    assert dealt["alpha=0.1,seed=0"]["classes"]["described"] == dealt["alpha=iid,seed=0"]["classes"]["described"]
    assert asked[0]["base"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


def test_a_run_goes_on_with_the_partition_that_it_began_with(tiny_models, varied_texts, tmp_path, monkeypatch):
    """Should the base say something else when it is asked again."""
    going = study(tiny_models("opt"), varied_texts, "prefix_ifd", grid={}, control={}, federation__num_rounds=2)
    straight = cllora.run(going, tmp_path / "straight") / "seed=0"
    interrupted(going, tmp_path / "halting", round=1)
    monkeypatch.setattr("cllora.runs.cell.base_nll", lambda base, samples, ids: np.arange(len(ids)) + 1.0)
    halting = cllora.run(going, tmp_path / "halting") / "seed=0"
    for name in ("state.safetensors", "partition.parquet", "partition.json"):
        assert (halting / name).read_bytes() == (straight / name).read_bytes()
