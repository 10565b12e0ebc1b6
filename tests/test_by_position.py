"""The loss by position against `evaluate` and a dense oracle, the bytes it is of, and what a run keeps of it."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from cllora.errors import UsageError
from cllora.model import attention
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import FULL
from cllora.model.tokenizer import ModelTokenizer
from cllora.probes.loss_by_position import bin_edges, loss_by_position, scored_bytes
from cllora.runs import run
from cllora.spec import Experiment, LoraSpec, ModelSpec, Study
from cllora.store import read_losses, read_partition, read_probe
from support.learning import random_adapter
from support.models import stock_tokenizer
from support.patterns import dense_mask, pattern
from support.probes import moment
from support.samples import made_up_samples
from support.studies import interrupted, study_fields

CONTEXT = 100
SPECIAL_WORDS = "naïve — 数据 🙂 <s>struck</s> out\n\tx = 1"


def learner_of(folder, trained=FULL, prompts=False):
    model = ModelSpec(name=str(folder), context=CONTEXT, precision="float32", device="cpu")
    base = load_base(model, LoraSpec(lora_dropout=0))
    return Learner(base, made_up_samples(longest=130, prompts=prompts), CONTEXT, trained)


def one_by_one(learner, sample, chosen):
    """A text's losses by position under stock eager attention with the pattern's mask."""
    text = torch.from_numpy(learner.samples.tokens_of(sample, CONTEXT))[None]
    allowed = dense_mask(chosen, [text.shape[1]], 4, 2)[None]
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    positions = torch.arange(text.shape[1])[None]
    learner.base.model.set_attn_implementation("eager")
    with torch.no_grad():
        out = learner.base.model(input_ids=text, attention_mask=mask, position_ids=positions, use_cache=False)
    learner.base.model.set_attn_implementation(attention.NAME)
    return torch.nn.functional.cross_entropy(out.logits[0, :-1], text[0, 1:], reduction="none").numpy()


def test_bins_are_powers_of_two_up_to_the_context():
    assert bin_edges(40) == [0, 40]
    assert bin_edges(64) == [0, 64]
    assert bin_edges(100) == [0, 64, 100]
    assert bin_edges(4096) == [0, 64, 128, 256, 512, 1024, 2048, 4096]


@pytest.mark.parametrize("prompts", [False, True])
def test_bins_sum_up_to_what_evaluate_gives(tiny_models, prompts):
    learner, ids = learner_of(tiny_models("opt"), prompts=prompts), np.arange(40)
    adapter = random_adapter(learner)
    table, whole = loss_by_position(learner, moment(learner, adapter, ids)), learner.evaluate("global", adapter, ids)
    bins = table[table["when"] == "after"]
    assert bins["nll"].sum() == pytest.approx(whole.nll.sum(), rel=1e-12)
    assert bins["tokens"].sum() == whole.tokens.sum()
    assert set(table["pattern"]) == {"full"}
    short = np.flatnonzero(learner.samples.lengths() <= 64)
    first = loss_by_position(learner, moment(learner, adapter, short)).query("when == 'after'")["nll"].tolist()
    assert first == [pytest.approx(learner.evaluate("global", adapter, short).nll.sum(), rel=1e-12)]


def test_every_bin_is_that_of_a_dense_oracle(tiny_models):
    s2 = pattern("s2", 10)
    learner, ids = learner_of(tiny_models("llama"), s2), np.arange(0, 60, 4)
    adapter = random_adapter(learner)
    table = loss_by_position(learner, moment(learner, adapter, ids))
    assert table["stop"].tolist() == [64, 100] * 4
    for chosen in (FULL, s2):
        losses = [one_by_one(learner, int(i), chosen) for i in ids]
        expected = [sum(text[:63].sum() for text in losses), sum(text[63:].sum() for text in losses)]
        bins = table[(table["pattern"] == chosen.name) & (table["when"] == "after")]
        np.testing.assert_allclose(bins["nll"], expected, rtol=1e-5)
        assert bins["tokens"].tolist() == [
            sum(len(text[:63]) for text in losses),
            sum(len(text[63:]) for text in losses),
        ]
    assert table.loc[table["stop"] == 100, "nll"].nunique() == 4


@pytest.mark.parametrize("which", ["embedded", "tiny"])
def test_bytes_are_those_of_the_scored_text_wherever_it_is_cut(tiny_models, which):
    name = which if which == "embedded" else str(tiny_models("opt"))
    tokenizer = ModelTokenizer(name)
    (tokens,) = tokenizer.encode([SPECIAL_WORDS])
    assert tokenizer.bytes_of(tokens, 1) == len(SPECIAL_WORDS.encode())
    for cut in range(1, len(tokens) + 1):
        assert tokenizer.bytes_of(tokens[:cut], 1) + tokenizer.bytes_of(tokens, cut) == len(SPECIAL_WORDS.encode())
        decoded = stock_tokenizer(name).decode(tokens[1:cut])
        if "�" not in decoded:
            assert tokenizer.bytes_of(tokens[:cut], 1) == len(decoded.encode())


def test_what_kind_of_tokenizer_it_is_is_looked_up_once(monkeypatch):
    """Its definition is as long as its vocabulary, and was read anew for every text."""
    tokenizer, read = ModelTokenizer("embedded"), []
    monkeypatch.setattr(
        "cllora.model.tokenizer.json.loads", lambda text: read.append(text) or json.JSONDecoder().decode(text)
    )
    assert [tokenizer.bytes_of(tokenizer.encode([word])[0], 1) for word in ("a", "naïve", "x = 1")] == [1, 6, 5]
    assert len(read) == 1


def test_bytes_where_tokens_are_no_strings_of_bytes(tmp_path):
    """Where the first token is not special it is not scored, and its bytes do not count."""
    words = {"<unk>": 0, "▁naïve": 1, "▁数据": 2, "▁x": 3}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = tokenizers.pre_tokenizers.Metaspace(), tokenizers.decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(tmp_path)
    tokenizer = ModelTokenizer(str(tmp_path))
    (tokens,) = tokenizer.encode(["naïve 数据 x"])
    assert [tokenizer.bytes_of(tokens, start) for start in range(4)] == [15, 9, 2, 0]


def test_bits_per_byte_count_the_bytes_that_were_scored(tiny_models):
    learner = learner_of(tiny_models("opt"), prompts=True)
    ids = np.arange(60)
    # A token of the tiny tokenizer is a byte, but the four special ones, of which the texts have none.
    expected = learner.samples.predicted(ids, CONTEXT).sum()
    assert scored_bytes(learner, ids) == expected


def test_a_run_keeps_both_and_an_interrupted_one_comes_to_the_same(tiny_models, texts, tmp_path):
    model = {"name": str(tiny_models("llama")), "context": 256, "positions": "linear", "attention": "s2"}
    fields = study_fields(tiny_models("llama"), texts, evaluation={"by_position": True, "passkey": 1, "every": 3})
    fields["model"] |= model
    fields["data"] |= {"limit": 60, "test": 0.2}
    study = Study.parse({**fields, "grid": {}, "control": {}, "partition": {"num_clients": 2, "scheme": "iid"}})
    cell = run(study, tmp_path / "whole") / "seed=0"
    interrupted(study, tmp_path / "stopped", round=2)
    stopped = tmp_path / "stopped" / cell.name
    assert not (stopped / "probes/loss_by_position.parquet").exists()
    run(study, tmp_path / "stopped")
    for name in ("loss_by_position", "passkey"):
        assert (stopped / f"probes/{name}.parquet").read_bytes() == (cell / f"probes/{name}.parquet").read_bytes()
    kept = read_probe(cell, "loss_by_position")
    tested = read_partition(cell).global_test
    assert set(kept["texts"]) == {len(tested)} == {12}
    assert kept["start"].unique().tolist() == [0, 64, 128]
    assert kept["pattern"].unique().tolist() == ["full", "s2"]
    losses = read_losses(cell)
    for number, when in ((0, "before"), (3, "after")):
        of_it = losses[(losses["model"] == "global") & (losses["round"] == number) & losses["sample"].isin(tested)]
        bins = kept[(kept["pattern"] == "full") & (kept["when"] == when)]
        assert bins["nll"].sum() == pytest.approx(of_it["nll"].sum(), rel=1e-6)
        assert bins["tokens"].sum() == of_it["tokens"].sum()
    keys = read_probe(cell, "passkey")
    assert keys["depth"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert keys[["length", "keys", "digits"]].drop_duplicates().to_numpy().tolist() == [[256, 1, 5]]
    assert keys["found_before"].tolist() == [0] * 5
    assert (keys["nats_before"] != keys["nats_after"]).all()


def test_a_study_that_asks_for_none_is_written_as_before():
    assert Experiment.parse({"evaluation": {"by_position": False, "passkey": 0}}).id == Experiment().id
    assert not {"by_position", "passkey"} & Experiment().model_dump(mode="json")["evaluation"].keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"evaluation": {"by_position": "sometimes"}}, "evaluation.by_position"),
        ({"evaluation": {"passkey": -1}}, "evaluation.passkey"),
        ({"evaluation": {"passkey": 5}, "model": {"context": 255}}, "passkey needs model.context to be 256 or more"),
        ({"evaluation": {"attention": True, "pattern": "s2"}}, "set pattern to full"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields, message):
    with pytest.raises(UsageError, match=message) as refused:
        Experiment.parse(fields)
    assert "\n" not in str(refused.value)
