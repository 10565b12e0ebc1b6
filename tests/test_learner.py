"""The learner against slow oracles: stock losses one text at a time, autograd, torch's own optimiser and schedules."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel

from cllora.errors import UsageError
from cllora.model import attention
from cllora.model.batches import packed, steps_of, training_batches
from cllora.model.load import load_base
from cllora.model.local import schedule
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from support.learning import CONTEXT, LOCAL, learner_of, random_adapter, stock_losses
from support.models import FAMILIES, tiny_config
from support.samples import made_up_samples


def train(learner, work, ids, local, seed, *name):
    """One job by itself."""
    return learner.train([Job(work, ids, name)], local, seed)[0]


@pytest.fixture(params=FAMILIES, scope="module")
def family(request, tiny_models):
    """A learner, made once: what it trains and evaluates leaves nothing behind in it."""
    return learner_of(tiny_models(request.param))


def one_by_one(learner, sample):
    """Stock loss of one text under stock attention, summed over its predicted tokens."""
    text = torch.from_numpy(learner.samples.tokens_of(sample, CONTEXT))[None]
    labels = text.clone()
    labels[:, : learner.samples.prompts[sample]] = -100
    model = learner.base.model
    model.set_attn_implementation("eager")
    loss = model(input_ids=text, labels=labels, use_cache=False).loss
    model.set_attn_implementation(attention.NAME)
    return loss * int((labels[0, 1:] != -100).sum())


def test_evaluation_equals_stock_losses_one_by_one(family):
    adapter = random_adapter(family)
    ids = np.arange(0, 60, 3)
    found = family.evaluate("global", adapter, ids)
    with torch.no_grad():
        expected = [float(one_by_one(family, int(i))) for i in ids]
    np.testing.assert_allclose(found.nll, expected, rtol=2e-5)
    assert found.tokens.tolist() == [min(n, CONTEXT) - 1 for n in family.samples.lengths()[ids]]


def test_long_rows_take_flash_attention_and_give_the_same(family, monkeypatch):
    adapter, ids = random_adapter(family), np.arange(0, 60, 3)
    short = family.evaluate("global", adapter, ids).nll
    monkeypatch.setattr(attention, "SHORT", 0)
    np.testing.assert_allclose(family.evaluate("global", adapter, ids).nll, short, rtol=2e-5)


def test_a_text_never_sees_its_neighbours(family):
    """The same text in different company, and with another text's tokens changed, has the same loss."""
    adapter = random_adapter(family)
    alone = [family.evaluate("global", adapter, np.array([i])).nll[0] for i in range(10)]
    together = family.evaluate("global", adapter, np.arange(10)).nll
    np.testing.assert_allclose(together, alone, rtol=2e-5)


def test_gradient_equals_autograd_one_by_one(family):
    family.adapters.write(random_adapter(family))
    batch = np.arange(12)
    count = family.samples.predicted(batch, CONTEXT).sum()
    (loss,) = family.gradients([batch], np.array([count]), [None])
    found = family.adapters.gradients[0].clone()
    family.adapters.gradients.zero_()
    total = sum(one_by_one(family, int(i)) for i in batch) / count
    total.backward()
    assert float(loss) == pytest.approx(float(total.detach()), rel=1e-5)
    torch.testing.assert_close(found, family.adapters.gradients[0], rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_and_leaves_the_base_untouched(family):
    frozen = {n: p.detach().clone() for n, p in family.base.model.named_parameters() if not p.requires_grad}
    start = family.initial(0)
    ids = np.arange(40)
    trained = train(family, Work(start), ids, LOCAL, 0, "train")
    before = family.evaluate("global", start, ids).nll.sum()
    after = family.evaluate("global", trained.adapter, ids).nll.sum()
    assert after < before
    assert trained.steps == 12
    assert trained.tokens == 2 * (np.minimum(family.samples.lengths()[ids], CONTEXT) - 1).sum()
    for name, parameter in family.base.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if name in frozen:
            assert torch.equal(parameter, frozen[name])


def test_zero_b_is_the_base(family):
    start = family.initial(0)
    ids = np.arange(10)
    with torch.no_grad(), family.base.model.disable_adapter():
        expected = [float(one_by_one(family, int(i))) for i in ids]
    np.testing.assert_allclose(family.evaluate("global", start, ids).nll, expected, rtol=2e-5)
    assert (start != 0).any()


def test_saved_adapter_loads_with_peft_and_gives_the_same_losses(family, tmp_path):
    adapter = random_adapter(family)
    ids = np.arange(20)
    expected = family.evaluate("global", adapter, ids).nll
    family.save_adapter(adapter, tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(
        family.base.model.peft_config["default"].base_model_name_or_path, dtype=torch.float32
    )
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    np.testing.assert_allclose(stock_losses(model, family, ids), expected, rtol=2e-5)


def test_zero_steps_change_nothing_and_a_seed_decides_all(tiny_models):
    learner = learner_of(tiny_models("opt"), dropout=0.3)
    start = random_adapter(learner)
    ids = np.arange(30)
    first = train(learner, Work(start), ids, LOCAL, 3, "train", 1, 2)
    learner.evaluate("global", start, ids)
    torch.rand(5)
    again = train(learner, Work(start), ids, LOCAL, 3, "train", 1, 2)
    other = train(learner, Work(start), ids, LOCAL, 3, "train", 1, 3)
    assert np.array_equal(first.adapter, again.adapter)
    assert not np.array_equal(first.adapter, other.adapter)
    still = train(learner, Work(start), ids, LOCAL.model_copy(update={"learning_rate": 1e-30}), 3, "x")
    np.testing.assert_allclose(still.adapter, start, atol=1e-7)


def test_training_draws_nothing_from_the_global_generator(tiny_models):
    learner = learner_of(tiny_models("opt"), dropout=0.3)
    before = torch.get_rng_state()
    train(learner, Work(learner.initial(0)), np.arange(10), LOCAL, 0, "x")
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_on_in_training_and_off_in_evaluation(tiny_models):
    wet, dry = (learner_of(tiny_models("opt"), dropout=d) for d in (0.5, 0.0))
    start, ids = random_adapter(wet), np.arange(20)
    assert np.array_equal(wet.evaluate("g", start, ids).nll, dry.evaluate("g", start, ids).nll)
    assert not np.allclose(
        train(wet, Work(start), ids, LOCAL, 0, "x").adapter, train(dry, Work(start), ids, LOCAL, 0, "x").adapter
    )


def test_prompts_carry_no_loss(tiny_models):
    samples = made_up_samples(prompts=True)
    learner = learner_of(tiny_models("llama"), samples)
    ids = np.arange(60)
    ids = ids[samples.predicted(ids, CONTEXT) > 0]
    found = learner.evaluate("global", learner.initial(0), ids)
    with torch.no_grad():
        expected = [float(one_by_one(learner, int(i))) for i in ids]
    np.testing.assert_allclose(found.nll, expected, rtol=2e-5)
    assert (found.tokens < samples.seen(ids, CONTEXT) - 1).any()


def test_pull_correction_and_mask_reach_the_gradient(tiny_models):
    learner = learner_of(tiny_models("opt"))
    start, ids = random_adapter(learner), np.arange(5)
    sgd = LocalSpec(
        epochs=1, batch_size=5, optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0
    )
    plain = train(learner, Work(start, gradient=True), ids, sgd, 0, "x")
    np.testing.assert_allclose(plain.adapter, start - 0.1 * plain.gradient, atol=1e-6)
    center, shift = random_adapter(learner, 2), random_adapter(learner, 3)
    mask = np.arange(len(start)) % 2 == 0
    pulled = train(learner, Work(start, center, 0.5, shift, mask, gradient=True), ids, sgd, 0, "x")
    g = plain.gradient + 0.5 * (start - center) + shift
    np.testing.assert_allclose(pulled.adapter, np.where(mask, start - 0.1 * g, start), atol=1e-6)
    np.testing.assert_allclose(pulled.gradient, plain.gradient, atol=1e-6)


def test_frozen_part_stays_under_weight_decay(tiny_models):
    learner = learner_of(tiny_models("opt"))
    start = random_adapter(learner)
    mask = np.arange(len(start)) < 50
    local = LOCAL.model_copy(update={"weight_decay": 0.1})
    trained = train(learner, Work(start, trainable=mask), np.arange(20), local, 0, "x").adapter
    assert np.array_equal(trained[~mask], start[~mask])
    assert not np.array_equal(trained[mask], start[mask])


def test_a_rate_that_explodes_leaves_a_loss_that_is_no_number(tiny_models):
    learner = learner_of(tiny_models("opt"))
    local = LocalSpec(epochs=3, batch_size=5, optim="sgd", learning_rate=1e38, max_grad_norm=0)
    assert not np.isfinite(train(learner, Work(random_adapter(learner)), np.arange(20), local, 0, "x").loss)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_schedules_are_those_of_transformers(kind, warmup):
    local = LocalSpec(lr_scheduler_type=kind, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=11)
    for step in range(11):
        assert schedule(local, step, 11) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_batches_go_through_every_sample_every_epoch():
    ids = np.arange(100, 123)
    local = LocalSpec(epochs=3, batch_size=5)
    batches = list(training_batches(ids, local, np.random.default_rng(0)))
    assert len(batches) == steps_of(local, len(ids)) == 15
    for epoch in range(3):
        assert sorted(np.concatenate(batches[5 * epoch : 5 * epoch + 5])) == list(ids)
    by_steps = list(training_batches(ids, LocalSpec(steps=7, batch_size=5), np.random.default_rng(0)))
    assert [len(b) for b in by_steps] == [5, 5, 5, 5, 3, 5, 5]


@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_packed_rows_hold_every_token_once_and_keep_to_the_budget(prompts, budget):
    samples = made_up_samples(80, prompts=prompts)
    ids = np.arange(0, 80, 2)
    seen = []
    for rows in packed(samples, [ids], CONTEXT, budget, torch.device("cpu")):
        texts = [samples.tokens_of(int(i), CONTEXT) for i in ids[rows.places]]
        size = sum(len(text) for text in texts)
        assert len(texts) == 1 or size <= budget
        seen.extend(ids[rows.places])
        assert rows.sizes == [size]
        filler = rows.tokens.numel() - size
        assert filler <= max(1, size // 32)
        assert rows.tokens[0].tolist() == [*np.concatenate(texts), *[0] * filler]
        assert rows.positions[0].tolist() == [p for text in [*texts, range(filler)] for p in range(len(text))]
        starts = np.cumsum([0, *(len(text) for text in texts[:-1])])
        expected = [
            (start + p - 1, text[p], owner)
            for owner, (start, text, sample) in enumerate(zip(starts, texts, ids[rows.places], strict=True))
            for p in range(max(1, samples.prompts[sample]), len(text))
        ]
        predicted = len(rows.owner)
        kept = zip(rows.keep.tolist()[:predicted], rows.targets.tolist()[:predicted], rows.owner.tolist(), strict=True)
        assert list(kept) == expected
        assert rows.batch.tolist() == [0] * predicted + [-1] * (len(rows.keep) - predicted)
        gathered = rows.packing.gather(rows.tokens[0][:, None, None])
        assert rows.packing.scatter(gathered).flatten().tolist() == rows.tokens[0].tolist()
        side_by_side = [row.flatten().tolist() for part in gathered for row in part]
        attended = [*texts, np.zeros(filler, int)] if filler else texts
        assert len(side_by_side) == len(attended)
        for row, text in zip(side_by_side, sorted(attended, key=len, reverse=True), strict=True):
            assert row[: len(text)] == text.tolist()
            assert row[len(text) :] == [text[-1]] * (len(row) - len(text))
    assert sorted(seen) == list(ids)


def test_bfloat16_base_keeps_float32_adapters(tiny_models):
    exact, rough = (learner_of(tiny_models("opt"), precision=p) for p in ("float32", "bfloat16"))
    adapter, ids = random_adapter(exact), np.arange(30)
    assert {p.dtype for p in rough.base.model.parameters() if p.requires_grad} == {torch.float32}
    a, b = (one.evaluate("g", adapter, ids) for one in (exact, rough))
    assert b.nll.sum() / b.tokens.sum() == pytest.approx(a.nll.sum() / a.tokens.sum(), abs=0.02)


def test_lora_on_experts_is_refused(tmp_path):
    """PEFT wraps them in layers that nothing here would train."""
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config = transformers.MixtralConfig(**sizes, num_hidden_layers=2, num_key_value_heads=2, num_local_experts=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"lora\.target_modules"):
        learner_of(tmp_path, targets=("w1", "w2"))


@pytest.mark.parametrize("family", ["gpt_neo", "bloom"])
def test_a_model_whose_packed_texts_would_see_each_other_is_refused(family, tmp_path):
    sizes = {"vocab_size": 300, "hidden_size": 32}
    if family == "gpt_neo":
        config = transformers.GPTNeoConfig(
            **sizes, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], intermediate_size=64
        )
    else:
        config = transformers.BloomConfig(**sizes, n_layer=2, n_head=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="attention interface"):
        load_base(ModelSpec(name=str(tmp_path), context=32, device="cpu", precision="float32"), LoraSpec())


def test_attention_with_what_packed_texts_do_not_support_is_refused_by_name(tmp_path):
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 8}
    config = transformers.Gemma2Config(**sizes, num_hidden_layers=2, num_key_value_heads=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "capped")
    with pytest.raises(UsageError, match=r"capped' \(gemma2\): the model's attention uses softcap"):
        load_base(ModelSpec(name=str(tmp_path / "capped"), context=32, device="cpu", precision="float32"), LoraSpec())


def windowed(folder, window):
    config = transformers.MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        sliding_window=window,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_a_window_narrower_than_the_context_is_refused(tmp_path):
    with pytest.raises(UsageError, match="windows of 16"):
        learner_of(windowed(tmp_path, 16))


def test_a_window_as_wide_as_the_context_is_no_matter_for_many_packed_texts(tmp_path):
    learner = learner_of(windowed(tmp_path, CONTEXT))
    ids = np.arange(60)
    found = learner.evaluate("global", random_adapter(learner), ids).nll
    with torch.no_grad():
        np.testing.assert_allclose(found, [float(one_by_one(learner, int(i))) for i in ids], rtol=2e-5)


def test_a_base_that_lacks_weights_is_refused(tiny_models, tmp_path):
    config = tiny_config("opt")
    config.num_hidden_layers = 3
    shutil.copytree(tiny_models("opt"), tmp_path / "short")
    config.save_pretrained(tmp_path / "short")
    with pytest.raises(UsageError, match="lacks"):
        learner_of(tmp_path / "short")


def test_bad_models_are_refused_in_one_line(tiny_models, tmp_path):
    good = str(tiny_models("opt"))
    for spec, lora, message in [
        (ModelSpec(name=str(tmp_path / "none")), LoraSpec(), "there is no folder"),
        (ModelSpec(name=str(tmp_path)), LoraSpec(), "cannot load the model"),
        (ModelSpec(name=good, context=129, precision="float32"), LoraSpec(), "has 128 positions"),
        (ModelSpec(name=good, precision="float32"), LoraSpec(target_modules=("query",)), "target_modules"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            load_base(spec, lora)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hidden", "layers", "projection", "before", "heads", "expected"),
    [(768, 12, 768, True, 12, 73_728), (1024, 24, 512, False, 16, 196_608), (2048, 24, 2048, True, 32, 393_216)],
)
def test_trainable_parameters_of_the_papers_models(hidden, layers, projection, before, heads, expected):
    """OPT-125M, 350M and 1.3B with r = 2 on q and v; a message against the full model in float32."""
    from cllora.model.load import add_lora
    from cllora.store import message_bytes
    from cllora.types import Layout

    config = transformers.OPTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        word_embed_proj_dim=projection,
        ffn_dim=4 * hidden,
        num_attention_heads=heads,
        do_layer_norm_before=before,
    )
    with torch.device("meta"):
        model = add_lora(transformers.OPTForCausalLM(config), LoraSpec(target_modules=("q_proj", "v_proj")), "opt")
    learning = {n.replace(".default.", "."): tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    layout = Layout(tuple(learning), tuple(learning.values()))
    assert layout.size == expected
    full = sum(p.numel() for p in model.parameters()) - expected
    sent = message_bytes({"adapter": np.zeros(layout.size, np.float32)}, layout)
    assert 4 * expected < sent < 4 * expected + 250 * len(learning)
    assert 1 - sent / (4 * full) > 0.999
