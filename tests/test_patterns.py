"""Attention patterns against their rule: a dense float64 oracle, laws of who sees whom, and whole models."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from cllora.errors import UsageError
from cllora.model import attention
from cllora.model.attention import NAME, Packing, packed_attention
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import FULL, pattern_of, patterns, unshifted_heads
from cllora.runs.study import check
from cllora.spec import Choice, Experiment, LoraSpec, ModelSpec, Study
from cllora.types import Job, Work
from support.learning import LOCAL, random_adapter
from support.models import FAMILIES, VOCABULARY, tiny_config
from support.patterns import dense_mask, pattern
from support.samples import made_up_samples

CPU = torch.device("cpu")
NAMES = patterns.names()
LEAK_FREE = [name for name in NAMES if name != "s2_roll"]
HEADS = ((8, 8), (8, 2), (9, 3), (4, 1), (5, 1), (1, 1), (3, 3), (12, 4), (15, 5))


def oracle(mask, q, k, v):
    """Masked softmax over all pairs; q (1, H, N, D) to (1, N, H, D)."""
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf)
    return (torch.softmax(scores, -1) @ v).transpose(1, 2)


def random_tensors(draw, heads, kv_heads, tokens, rows=1, size=4):
    shapes = [(rows, n, tokens, size) for n in (heads, kv_heads, kv_heads)]
    return [torch.from_numpy(draw.normal(size=shape)).requires_grad_() for shape in shapes]


def attended(packing, *tensors):
    return packed_attention(torch.nn.Module(), *tensors, None, packing=packing)[0]


@pytest.mark.parametrize("short", [0, 256])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(30))
def test_forward_and_gradients_equal_the_dense_rule(name, seed, short, monkeypatch):
    """Random heads, lengths, groups and company, in float64; by flash attention and by plain products."""
    monkeypatch.setattr(attention, "SHORT", short)
    draw = np.random.default_rng([seed, NAMES.index(name)])
    heads, kv_heads = HEADS[draw.integers(len(HEADS))]
    lengths = draw.integers(1, 50, draw.integers(1, 6))
    chosen = pattern(name, int(draw.integers(1, 20)))
    tensors = random_tensors(draw, heads, kv_heads, lengths.sum())
    pull = torch.from_numpy(draw.normal(size=(1, lengths.sum(), heads, 4)))
    found = attended(Packing.of_lengths(lengths, CPU, chosen), *tensors)
    expected = oracle(dense_mask(chosen, lengths, heads, kv_heads), *tensors)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad((out * pull).sum(), tensors) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_long_groups_of_uneven_texts_equal_the_dense_rule(name):
    """Lengths at which shapes are chosen by what would be computed in vain."""
    lengths, chosen = np.array([400, 900, 90]), pattern(name, 300)
    tensors = [t.detach() for t in random_tensors(np.random.default_rng(1), 2, 1, lengths.sum())]
    found = attended(Packing.of_lengths(lengths, CPU, chosen), *tensors)
    torch.testing.assert_close(found, oracle(dense_mask(chosen, lengths, 2, 1), *tensors), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["full", "local", "s2"])
def test_nothing_much_is_computed_that_is_not_seen(name):
    """A long text's blocks are as long as what is seen, within a sixteenth or so; and their shapes are few."""
    chosen, length = pattern(name, 2048), 50_000
    packing = Packing.of_lengths(np.array([length]), CPU, chosen)
    for half, shifted in ((packing, False), (packing.shifted or packing, True)):
        seen = (chosen.blocks(np.array([length]), shifted)[1] ** 2).sum()
        assert sum(texts * t * t for texts, t in half.shapes) < 1.07 * seen
        assert len(set(half.shapes)) <= 6


@pytest.mark.parametrize("name", LEAK_FREE)
@pytest.mark.parametrize(("length", "group"), [(33, 8), (16, 7), (5, 16), (24, 1), (40, 40)])
def test_a_later_token_never_changes_an_earlier_output(name, length, group):
    draw = np.random.default_rng(group)
    tensors = [t.detach() for t in random_tensors(draw, 4, 2, length)]
    packing = Packing.of_lengths(np.array([length]), CPU, pattern(name, group))
    before = attended(packing, *tensors)
    for token in range(length):
        changed = [t.clone() for t in tensors]
        for t in changed:
            t[:, :, token] += 1
        assert torch.equal(attended(packing, *changed)[:, :token], before[:, :token])
    assert not pattern(name, group).leaks(length)


def test_the_figure_as_drawn_leaks_in_its_first_half_group_and_nowhere_else():
    """At 32 tokens in groups of 8 the last token changes what 4 earlier ones see; nothing else is out of order."""
    chosen = pattern("s2_roll", 8)
    draw = np.random.default_rng(0)
    tensors = [t.detach() for t in random_tensors(draw, 4, 4, 32)]
    packing = Packing.of_lengths(np.array([32]), CPU, chosen)
    before = attended(packing, *tensors)
    changed = [t.clone() for t in tensors]
    for t in changed:
        t[:, :, -1] += 1
    moved = (attended(packing, *changed) != before).any(-1)[0]
    assert torch.equal(moved.any(-1).nonzero().flatten(), torch.tensor([0, 1, 2, 3, 31]))
    assert not moved[:31, :2].any()  # only in shifted heads
    assert chosen.leaks(32)
    s2, p = pattern("s2", 8), np.arange(32)
    unlike = [c.visible(p[:, None], p[None], np.array(32), True) for c in (chosen, s2)]
    assert np.flatnonzero((unlike[0] != unlike[1]).any(1)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", NAMES)
def test_packed_equals_one_by_one_and_right_padded(name):
    """A text's output is its own, whatever lies beside it or behind it."""
    draw, lengths, width = np.random.default_rng(3), np.array([17, 30, 4, 1, 23]), 30
    chosen = pattern(name, 6)
    alone = [[t.detach() for t in random_tensors(draw, 6, 3, length)] for length in lengths]
    expected = [attended(Packing.of_lengths(lengths[i : i + 1], CPU, chosen), *one) for i, one in enumerate(alone)]
    together = [torch.cat(tensors, dim=2) for tensors in zip(*alone, strict=True)]
    found = attended(Packing.of_lengths(lengths, CPU, chosen), *together)
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-12, atol=1e-12)
    padded = [
        torch.cat([torch.nn.functional.pad(t, (0, 0, 0, width - t.shape[2]), value=7.0) for t in tensors])
        for tensors in zip(*alone, strict=True)
    ]
    parts = np.stack([lengths, width - lengths], axis=1).ravel()  # the padding of a row is a text of its own
    rows = attended(Packing.of_lengths(parts[parts > 0], CPU, chosen), *padded)
    for row, length, one in zip(rows, lengths, expected, strict=True):
        torch.testing.assert_close(row[:length], one[0], rtol=1e-12, atol=1e-12)
    assert rows.isfinite().all()


@pytest.mark.parametrize("group", [16, 17])
def test_texts_of_half_a_group_see_all(group):
    for name in ("local", "s2"):
        packing = Packing.of_lengths(np.array([8, 3, 5]), CPU, pattern(name, group))
        assert packing.shifted is None
        assert packing.shapes == Packing.of_lengths(np.array([8, 3, 5]), CPU, FULL).shapes
    assert Packing.of_lengths(np.array([group // 2 + 1]), CPU, pattern("s2", group)).shifted is not None


def test_the_rule_in_numbers():
    """The shifted heads of s2 have a first group of floor(G/2); the others start anew every G."""
    sizes = [pattern("s2", g).blocks(np.array([8192]), s)[1].tolist() for g, s in ((2048, True), (2048, False))]
    assert sizes == [[1024, 2048, 2048, 2048, 1024], [2048] * 4]
    assert pattern("s2", 7).blocks(np.array([20]), True)[1].tolist() == [3, 7, 7, 3]
    assert [unshifted_heads(*heads) for heads in ((8, 8), (9, 3), (4, 1), (15, 5))] == [(4, 4), (3, 1), (2, 1), (6, 2)]


@pytest.mark.parametrize("family", [*FAMILIES, "mistral"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "full"])
def test_a_whole_model_equals_an_eager_one_with_the_dense_mask(family, name):
    """Losses and gradients of every family, packed, against transformers' eager attention one text at a time."""
    config, chosen = tiny_config(family), pattern(name, 5)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config).eval().double()
        texts = [torch.randint(4, VOCABULARY, (length,)) for length in (23, 9, 2)]
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    model.set_attn_implementation("eager")
    expected = []
    for text in texts:
        allowed = dense_mask(chosen, [len(text)], heads, kv_heads)[None]
        mask = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(~allowed, torch.finfo(torch.float64).min)
        row = {"input_ids": text[None], "position_ids": torch.arange(len(text))[None]}
        expected.append(model(**row, attention_mask=mask, use_cache=False).logits[0])
    expected = torch.cat(expected)
    model.set_attn_implementation(NAME)
    found = model(
        input_ids=torch.cat(texts)[None],
        position_ids=torch.cat([torch.arange(len(text)) for text in texts])[None],
        packing=Packing.of_lengths(np.array([len(text) for text in texts]), CPU, chosen),
        use_cache=False,
    ).logits[0]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    pull = torch.from_numpy(np.random.default_rng(0).normal(size=found.shape))
    weights = [p for p in model.parameters() if p.requires_grad]
    both = [torch.autograd.grad((out * pull).sum(), weights, allow_unused=True) for out in (found, expected)]
    for a, b in zip(*both, strict=True):
        assert (a is None) == (b is None)
        if a is not None:  # Norms and rotary angles are in float32 whatever the model is in.
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def learner_under(folder, trained=FULL, evaluated=FULL):
    model = ModelSpec(name=str(folder), context=40, precision="float32", device="cpu")
    return Learner(load_base(model, LoraSpec(lora_dropout=0)), made_up_samples(), 40, trained, evaluated)


def test_training_and_evaluation_each_take_their_own(tiny_models):
    ids, s2 = np.arange(20), pattern("s2", 8)
    plain, sparse, both = (
        learner_under(tiny_models("llama"), *chosen) for chosen in ((FULL, FULL), (s2, FULL), (s2, s2))
    )
    adapter = random_adapter(plain)
    assert np.array_equal(*(it.evaluate("g", adapter, ids).nll for it in (plain, sparse)))
    assert not np.allclose(*(it.evaluate("g", adapter, ids).nll for it in (sparse, both)))
    after = [it.train([Job(Work(adapter), ids, ("x",))], LOCAL, 0)[0].adapter for it in (plain, sparse, both)]
    assert not np.allclose(after[0], after[1])
    assert np.array_equal(after[1], after[2])


def test_shares_become_the_same_number_of_tokens_for_every_text():
    assert [pattern("s2", share, 8192).group for share in (0.25, 2048, 0.1)] == [2048, 2048, 819]
    assert pattern_of(Choice(name="s2"), 128).group == 32
    assert pattern_of(Choice(name="local", group=0.001), 128).group == 1
    assert pattern_of(Choice(name="full"), 128).group is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("s3", "unknown attention pattern 's3'; did you mean 's2'"),
        ({"name": "s2", "group": 0}, "a share of the context"),
        ({"name": "s2", "group": 1.5}, "a share of the context"),
        ({"name": "full", "group": 4}, "group"),
    ],
)
def test_what_is_no_pattern_is_refused(written, message):
    for section, field in (("model", "attention"), ("evaluation", "pattern")):
        with pytest.raises(UsageError, match=message):
            check(Study.parse({section: {field: written}}))


def test_attention_by_name_and_by_options_is_the_same():
    assert Experiment.parse({"model": {"attention": "full"}}) == Experiment()
    assert Experiment.parse({"model": {"attention": {"name": "full"}}}).id == Experiment().id
    assert Experiment().model_dump(mode="json")["model"]["attention"] == "full"
    assert "pattern" not in Experiment().model_dump(mode="json")["evaluation"]
    written = {"model": {"attention": {"name": "s2", "group": 512}}, "evaluation": {"pattern": "s2"}}
    study = Study.parse(written, ["model.attention.group=64"])
    assert Study.parse(study.to_mapping()) == study
    assert study.base.model.attention.options == {"group": 64}


def test_a_pattern_that_is_full_attention_at_the_context_says_so(caplog):
    from cllora.runs.study_cache import attention_of

    for group, context, is_full in ((128, 64, True), (127, 64, False), (64, 64, False)):
        assert pattern("s2", group).is_full(context) == is_full
    assert pattern("local", 64).is_full(64)
    assert not pattern("s2_roll", 8).is_full(64)
    asked = {"model": {"context": 64, "attention": {"name": "s2", "group": 1000}}}
    with caplog.at_level(logging.WARNING, logger="cllora"):
        attention_of(Experiment.parse(asked))
    assert caplog.messages == [
        "attention in training: s2 in groups of 1,000 tokens is full attention at a context of 64"
    ]


def test_a_pattern_that_leaks_says_so(caplog):
    from cllora.runs.study_cache import attention_of

    with caplog.at_level(logging.WARNING, logger="cllora"):
        attention_of(Experiment.parse({"model": {"attention": "s2"}}))
        assert not caplog.records
        attention_of(Experiment.parse({"model": {"attention": "s2_roll"}}))
    assert "training is s2_roll" in caplog.text


def test_the_picture_in_the_docs_is_of_this_rule(tmp_path):
    root = Path(__file__).parents[1]
    command = [sys.executable, root / "scripts/attention_picture.py", "--out", tmp_path / "now.svg"]
    subprocess.run(command, check=True)
    assert (tmp_path / "now.svg").read_text() == (root / "docs/images/attention.svg").read_text()
