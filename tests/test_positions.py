"""Contexts longer than the base was pretrained at."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cllora.errors import UsageError
from cllora.model.learner import Learner
from cllora.model.load import load_base, save_merged
from cllora.model.positions import interpolated, learned_positions, stretch_table
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from support.learning import stock_losses
from support.samples import made_up_samples

PRETRAINED = 128
LONG = 512
ROTARY = ("llama", "qwen2", "qwen3", "gpt_neox")
LEARNED = ("opt", "opt-350m", "gpt2")


def learner_of(folder, positions, context=LONG, **lora):
    model = ModelSpec(name=str(folder), context=context, positions=positions, precision="float32", device="cpu")
    return Learner(load_base(model, LoraSpec(lora_dropout=0, **lora)), made_up_samples(12, 400), context)


@pytest.mark.parametrize("way", ["linear", "yarn"])
@pytest.mark.parametrize("family", ROTARY)
def test_rotary_positions_are_those_of_transformers_own_scaling(tiny_models, family, way):
    learner, ids = learner_of(tiny_models(family), way), np.arange(6)
    config = transformers.AutoConfig.from_pretrained(tiny_models(family))
    config.rope_parameters |= {"rope_type": way, "factor": 4.0}
    if way == "yarn":
        config.rope_parameters |= {"original_max_position_embeddings": PRETRAINED}
    config.max_position_embeddings = LONG
    stock = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family), config=config, dtype=torch.float32)
    expected = stock_losses(stock.eval(), learner, ids)
    assert learner.samples.lengths()[ids].max() > 2 * PRETRAINED
    np.testing.assert_allclose(learner.evaluate("g", learner.initial(0), ids).nll, expected, rtol=2e-5)
    frequencies, attention = ROPE_INIT_FUNCTIONS[way](config, None)
    module = next(m for m in learner.base.model.modules() if hasattr(m, "inv_freq"))
    torch.testing.assert_close(module.inv_freq, frequencies)
    assert module.attention_scaling == attention
    plain = learner_of(tiny_models(family), "as_trained", PRETRAINED)
    first = next(m for m in plain.base.model.modules() if hasattr(m, "inv_freq"))
    if way == "linear":
        torch.testing.assert_close(module.inv_freq, first.inv_freq / 4)
    else:
        assert module.attention_scaling == pytest.approx(0.1 * np.log(4) + 1)


@pytest.mark.parametrize("family", LEARNED)
def test_a_learned_table_is_the_old_one_at_its_own_points(tiny_models, family):
    old = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family), dtype=torch.float32)
    before = learned_positions(old).weight.detach().clone()
    offset = 0 if family == "gpt2" else 2
    assert before.shape == (PRETRAINED + offset, 32)
    stretch_table(old, LONG)
    after = learned_positions(old).weight.detach()
    assert old.config.max_position_embeddings == LONG
    assert after.shape == (LONG + offset, 32)
    assert torch.equal(after[:offset], before[:offset])
    assert torch.equal(after[offset::4], before[offset:])
    torch.testing.assert_close(after[offset + 2 :: 4][:-1], (before[offset:-1] + before[offset + 1 :]) / 2)
    assert torch.equal(after[-4:], before[-1:].expand(4, -1))


@pytest.mark.parametrize("count", [5, 8, 13, 64])
def test_interpolation_is_numpys(count):
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = np.arange(count) * 5 / count
    expected = np.stack([np.interp(places, np.arange(5), column) for column in rows.numpy().T], axis=1)
    np.testing.assert_allclose(interpolated(rows, count).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("family", LEARNED)
def test_a_base_with_a_longer_table_says_what_stock_transformers_says_with_it(tiny_models, family, tmp_path):
    """Merged, it is a plain model that knows its own length; and PEFT loads the adapter onto a base stretched alike."""
    learner, ids = learner_of(tiny_models(family), "interpolate"), np.arange(6)
    start = learner.initial(0)
    adapter = start + np.random.default_rng(0).normal(0, 0.05, start.shape).astype(np.float32)
    expected = learner.evaluate("g", adapter, ids).nll
    learner.save_adapter(adapter, tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family), dtype=torch.float32)
    stretch_table(base, LONG)
    stock = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    np.testing.assert_allclose(stock_losses(stock, learner, ids), expected, rtol=2e-5)
    save_merged(learner.base, tmp_path / "merged")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    assert merged.config.max_position_embeddings == LONG
    np.testing.assert_allclose(stock_losses(merged, learner, ids), expected, rtol=2e-5)


@pytest.mark.parametrize("way", ["linear", "yarn"])
def test_the_adapter_of_a_stretched_rotary_base_brings_that_bases_config(tiny_models, way, tmp_path):
    learner, ids = learner_of(tiny_models("llama"), way), np.arange(6)
    start = learner.initial(0)
    adapter = start + np.random.default_rng(0).normal(0, 0.05, start.shape).astype(np.float32)
    expected = learner.evaluate("g", adapter, ids).nll
    learner.save_adapter(adapter, tmp_path / "adapter")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("llama"), config=config, dtype=torch.float32)
    stock = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    np.testing.assert_allclose(stock_losses(stock, learner, ids), expected, rtol=2e-5)
    save_merged(learner.base, tmp_path / "merged")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    np.testing.assert_allclose(stock_losses(merged, learner, ids), expected, rtol=2e-5)


def test_an_interpolated_table_is_trained_and_travels_with_its_new_rows(tiny_models, tmp_path):
    learner = learner_of(tiny_models("opt"), "interpolate", train="lora+norms+positions")
    shape = dict(zip(learner.layout.names, learner.layout.shapes, strict=True))
    assert [s for n, s in shape.items() if "embed_positions" in n] == [(LONG + 2, 32)]
    local = LocalSpec(epochs=1, batch_size=4, learning_rate=1e-3)
    trained = learner.train([Job(Work(learner.initial(0)), np.arange(12), ("x",))], local, 0)[0]
    rows = learner.layout.split(trained.adapter - learner.initial(0))
    moved = next(rows[name] for name in rows if "embed_positions" in name).any(1)
    longest = int(learner.samples.lengths().max())
    assert moved[2 : longest + 1].all()
    assert not moved[longest + 2 :].any()
    expected = learner.evaluate("g", trained.adapter, np.arange(6)).nll
    learner.save_adapter(trained.adapter, tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt"), dtype=torch.float32)
    stretch_table(base, LONG)
    stock = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    np.testing.assert_allclose(stock_losses(stock, learner, np.arange(6)), expected, rtol=2e-5)


def test_the_weights_on_disk_are_what_a_base_is_known_by(tiny_models):
    """However it is stretched, the study's folder knows the base again."""
    plain = learner_of(tiny_models("opt"), "as_trained", PRETRAINED).base
    long = learner_of(tiny_models("opt"), "interpolate").base
    assert long.fingerprint == plain.fingerprint
    assert long.full_parameters == plain.full_parameters + (LONG - PRETRAINED) * 32


@pytest.mark.parametrize(
    ("family", "positions", "context", "line"),
    [
        ("llama", "as_trained", 129, "linear or yarn"),
        ("opt", "as_trained", 129, "interpolate"),
        ("llama", "linear", 128, "pretrained at 128"),
        ("opt", "interpolate", 64, "pretrained at 128"),
        ("opt", "linear", 256, "no rotary positions"),
        ("gpt2", "yarn", 256, "no rotary positions"),
        ("llama", "interpolate", 256, "has rotary positions"),
    ],
)
def test_what_does_not_apply_is_refused(tiny_models, family, positions, context, line):
    with pytest.raises(UsageError, match=line):
        learner_of(tiny_models(family), positions, context)


def config_of(folder, place, **changes):
    place.mkdir()
    fields = json.loads((folder / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(fields | changes))
    return place


def test_a_base_that_is_stretched_already_or_has_a_window_is_refused(tiny_models, tmp_path):
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(UsageError, match="already changes"):
        learner_of(config_of(tiny_models("llama"), tmp_path / "scaled", rope_parameters=scaled), "linear")
    windowed = transformers.MistralConfig(max_position_embeddings=128, sliding_window=256)
    windowed.save_pretrained(tmp_path / "windowed")
    with pytest.raises(UsageError, match="windows of 256"):
        learner_of(tmp_path / "windowed", "linear")
    transformers.BloomConfig().save_pretrained(tmp_path / "alibi")
    with pytest.raises(UsageError, match="no positions"):
        learner_of(tmp_path / "alibi", "interpolate")
