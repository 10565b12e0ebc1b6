"""What a base must be: towers of other senses stay out, texts come to the same in any company, the rest is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers as t
from peft import PeftModel

from cllora.errors import UsageError
from cllora.model import load, trial
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import LoraSpec, ModelSpec
from support.learning import stock_losses
from support.samples import made_up_samples

SIZES = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
WINDOW = 48


def saved(config, folder):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = t.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data.mul_(5)
    model.save_pretrained(folder)
    return folder


def learner_of(folder, context, samples=None, **lora):
    model = ModelSpec(name=str(folder), context=context, precision="float32", device="cpu")
    samples = samples or made_up_samples(longest=100)
    return Learner(load_base(model, LoraSpec(lora_dropout=0, **lora)), samples, context)


@pytest.fixture(scope="module")
def sees(tmp_path_factory):
    """A Gemma 3 that sees too; its window and its positions stand in the text part of its config."""
    text = {**SIZES, **HEADS, "head_dim": 8, "query_pre_attn_scalar": 8, "max_position_embeddings": 128}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = t.Gemma3Config(
        text_config={**text, "sliding_window": WINDOW},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=299,
        boi_token_index=298,
        eoi_token_index=297,
    )
    return saved(config, tmp_path_factory.mktemp("models") / "gemma3")


@pytest.mark.parametrize("lora", [{}, {"target_modules": "all-linear"}, {"train": "lora+norms"}, {"train": "full"}])
def test_a_tower_that_no_text_reaches_is_not_trained_counted_or_sent(sees, tmp_path, lora):
    learner = learner_of(sees, WINDOW, **lora)
    assert not [name for name in learner.layout.names if "vision" in name or "projector" in name]
    text_alone = t.AutoModelForCausalLM.from_pretrained(sees).get_decoder()
    assert learner.base.full_parameters == sum(p.numel() for p in text_alone.parameters())  # the head is tied
    if lora == {}:
        assert learner.layout.size == 2 * (2 * (32 + 32) + 2 * (32 + 16))
    ids, adapter = np.arange(12), learner.initial(0)
    adapter = (adapter + np.random.default_rng(0).normal(0, 0.05, adapter.shape)).astype(np.float32)
    found = learner.evaluate("global", adapter, ids).nll
    learner.save_adapter(adapter, tmp_path / "adapter")
    if lora.get("train") == "full":
        stock = t.AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")
    else:
        stock = PeftModel.from_pretrained(t.AutoModelForCausalLM.from_pretrained(sees), tmp_path / "adapter").eval()
    np.testing.assert_allclose(found, stock_losses(stock, learner, ids), rtol=2e-5)


@pytest.mark.parametrize(("context", "line"), [(WINDOW + 1, "windows of 48"), (129, "has 128 positions")])
def test_the_window_and_the_positions_are_those_of_the_text_part(sees, context, line):
    with pytest.raises(UsageError, match=line):
        learner_of(sees, context)


def with_spare_parts():
    """An OPT with a tower that no text reaches, a list of experts of which one is met, and a weight that is read by its
    parent without a call; as they stand in flat configs, where no text part is named."""
    plain = t.OPTForCausalLM.forward

    class OPTForCausalLM(t.OPTForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.model.decoder.tower = torch.nn.Sequential(torch.nn.Linear(32, 32))
            self.model.decoder.experts = torch.nn.ModuleList(torch.nn.Linear(32, 32, bias=False) for _ in range(3))
            self.model.decoder.read = torch.nn.Linear(32, 32, bias=False)

        def forward(self, *inputs, **named):
            out = plain(self, *inputs, **named)
            more = torch.zeros(1, 32)
            out.logits = out.logits + 0 * (self.model.decoder.experts[1](more) @ self.model.decoder.read.weight).sum()
            return out

    from support.models import tiny_config

    return OPTForCausalLM(tiny_config("opt"))


def test_what_text_goes_through_is_seen_in_a_pass():
    from cllora.model.text import text_modules, text_parameters

    model = with_spare_parts().eval()
    paths = set(text_modules(model))
    assert {"model.decoder.experts.0", "model.decoder.experts.2", "model.decoder.read"} <= paths
    assert not [path for path in paths if "tower" in path]
    left_out = {name for name, _ in model.named_parameters()} - set(text_parameters(model))
    assert left_out == {"model.decoder.tower.0.weight", "model.decoder.tower.0.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_keyword_of_attention_that_nobody_knows_is_refused():
    from cllora.model.attention import Packing, packed_attention

    q = torch.ones(1, 2, 5, 4)
    packing = Packing.of_lengths(np.array([5]), torch.device("cpu"))
    assert packed_attention(torch.nn.Module(), q, q, q, None, packing=packing, use_cache=False)[0].shape == (1, 5, 2, 4)
    with pytest.raises(UsageError, match="attention uses block_indices"):
        packed_attention(torch.nn.Module(), q, q, q, None, packing=packing, block_indices=torch.ones(1))
    with pytest.raises(UsageError, match="both sides"):
        packed_attention(torch.nn.Module(), q, q, q, None, packing=packing, is_causal=False)


def test_a_module_of_a_tower_alone_is_refused_by_name(sees):
    with pytest.raises(UsageError, match="no module that text goes through is called 'patch_embedding'"):
        learner_of(sees, WINDOW, target_modules=("q_proj", "patch_embedding"))


def long_rope(folder, kind):
    """A model whose positions change once a text is longer than 64 tokens."""
    rope = {"rope_type": kind, "rope_theta": 10000.0, **ROPES[kind]}
    sizes = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "dynamic":
        return saved(t.LlamaConfig(**sizes, **special, max_position_embeddings=64, rope_parameters=rope), folder)
    limits = {"max_position_embeddings": 256, "original_max_position_embeddings": 64, "sliding_window": None}
    rope = {**rope, "original_max_position_embeddings": 64}
    return saved(t.Phi3Config(**sizes, **special, **limits, rope_parameters=rope), folder)


ROPES = {
    "longrope": {"short_factor": [1.0] * 4, "long_factor": [4.0, 5.0, 6.0, 7.0]},
    "dynamic": {"factor": 4.0},
}


@pytest.mark.parametrize("kind", ROPES)
def test_positions_that_depend_on_the_longest_text_of_a_pass(tmp_path, kind):
    """Up to the length where they change texts come to the same alone and packed; beyond it a context is refused."""
    folder = long_rope(tmp_path, kind)
    learner = learner_of(folder, 64, target_modules="all-linear")
    ids = np.arange(20)
    stock = t.AutoModelForCausalLM.from_pretrained(folder)
    np.testing.assert_allclose(
        learner.evaluate("base", learner.initial(0), ids).nll, stock_losses(stock, learner, ids), rtol=2e-5
    )
    with pytest.raises(UsageError, match=rf"\({kind}\) change for all texts of a pass .* set model.context to 64"):
        learner_of(folder, 65)


def test_what_the_config_does_not_say_in_a_known_way_is_tried(tmp_path, monkeypatch):
    """The same model, with nothing known of its kind of positions: texts alone and packed are held to each other."""
    folder = long_rope(tmp_path, "longrope")
    monkeypatch.setattr(load, "check_passes", lambda *_: None)
    with pytest.raises(UsageError, match="alone than beside one of over 64 tokens"):
        learner_of(folder, 200)


def test_a_window_that_no_field_of_a_known_name_gives_is_tried(tmp_path, monkeypatch):
    from cllora.model import positions

    config = t.MistralConfig(**SIZES, **HEADS, max_position_embeddings=256, sliding_window=40)
    folder = saved(config, tmp_path)
    monkeypatch.setattr(positions, "check_context", lambda *_: None)
    monkeypatch.setattr(load, "check_context", lambda *_: None)
    with pytest.raises(UsageError, match="alone than beside one of over 40 tokens"):
        learner_of(folder, 128)


def test_lengths_are_read_out_of_nested_configs():
    config = t.Gemma3TextConfig(sliding_window=512, max_position_embeddings=4096)
    assert trial.lengths_in(config, 4096) == [6, 512]  # and the pattern of its layers
    assert trial.lengths_in(config, 512) == [6]


def edited(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            r"is quantised \(bitsandbytes\)",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"is quantised \(gptq\)"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"is quantised \(fp8\)"),
        ({"architectures": ["OPTForSequenceClassification"]}, "no language model but a OPTForSequenceClassification"),
        ({"model_type": "qwen9"}, "cannot load the model"),
        ({"auto_map": {"AutoModelForCausalLM": "theirs.Model"}, "model_type": "theirs"}, "cannot load the model"),
        ({"num_attention_heads": 5}, "cannot load the model"),
        ({"hidden_size": "wide"}, "cannot load the model"),
    ],
)
def test_models_that_cannot_be_trained_are_refused_with_the_reason(tiny_models, tmp_path, changes, line):
    folder = edited(shutil.copytree(tiny_models("opt"), tmp_path / "model"), **changes)
    with pytest.raises(UsageError, match=line) as caught:
        learner_of(folder, 32)
    assert "\n" not in str(caught.value)


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}


@pytest.mark.parametrize(
    ("config", "rope", "line"),
    [
        (t.MixtralConfig, YARN, r"cannot compute its yarn positions \(.*\); set head_dim in its config.json to 8$"),
        (t.PhimoeConfig, LINEAR, r"its config is not valid \(.rope_parameters.'s short_mscale field must be a number"),
    ],
)
def test_positions_that_a_family_cannot_have_are_refused_with_what_to_do(config, rope, line, tmp_path):
    made = config(**SIZES, **HEADS, max_position_embeddings=128, num_local_experts=2)
    folder = edited(saved(made, tmp_path), rope_parameters=rope)
    with pytest.raises(UsageError, match=line) as caught:
        learner_of(folder, 32)
    assert "\n" not in str(caught.value)


def test_a_family_gets_the_advice_that_works_for_it(tmp_path):
    few = {**SIZES, **HEADS, "max_position_embeddings": 64, "num_local_experts": 2}
    mixtral, phimoe = (saved(kind(**few), tmp_path / str(kind)) for kind in (t.MixtralConfig, t.PhimoeConfig))
    with pytest.raises(UsageError, match=r"or model\.positions to linear or yarn$"):
        learner_of(mixtral, 128)
    with pytest.raises(UsageError, match=r"set model\.context to 64 or less$"):
        learner_of(phimoe, 128)
    for way in ("linear", "yarn"):
        spec = ModelSpec(name=str(mixtral), context=128, positions=way, precision="float32", device="cpu")
        assert load_base(spec, LoraSpec()).model.config.head_dim == 8
        with pytest.raises(UsageError, match=f"transformers has no {way} positions for models like .* to 64 or less$"):
            load_base(spec.model_copy(update={"name": str(phimoe)}), LoraSpec())


def test_an_encoder_is_refused(tmp_path):
    config = t.T5Config(vocab_size=300, d_model=32, d_ff=64, num_layers=1, num_heads=2)
    t.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"T5|encoder"):
        learner_of(tmp_path, 32)


def strange(family):
    """Families with layers that packed texts cannot go through, each tiny."""
    if family == "llama4":
        text = {**SIZES, **HEADS, "intermediate_size_mlp": 64, "num_local_experts": 2, "head_dim": 8}
        return t.Llama4TextConfig(**text, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if family == "qwen3_next":
        sizes = {**SIZES, "num_hidden_layers": 4, **HEADS, "head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1}
        experts = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
        linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
        return t.Qwen3NextConfig(
            **sizes, **experts, **linear, linear_key_head_dim=8, linear_value_head_dim=8, pad_token_id=0
        )
    return t.MambaConfig(vocab_size=300, hidden_size=32, state_size=4, num_hidden_layers=2)


@pytest.mark.parametrize("family", ["llama4", "qwen3_next", "mamba"])
def test_layers_that_packed_texts_cannot_go_through_are_refused_in_one_line(tmp_path, family):
    folder = tmp_path / "it"
    t.AutoModelForCausalLM.from_config(strange(family)).save_pretrained(folder)
    with pytest.raises(UsageError, match=r"choose another model|does not|uses") as caught:
        learner_of(folder, 32)
    assert "\n" not in str(caught.value)
    assert "line " not in str(caught.value)


def test_a_tokenizer_larger_than_the_embedding_is_refused_where_a_text_uses_it(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models("opt"), tmp_path / "model")
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"more{i}" for i in range(60)])
    tokenizer.save_pretrained(folder)
    tokens = ModelTokenizer(str(folder)).encode(["plain", "more59"])
    samples = made_up_samples(2)
    flat = np.array([token for text in tokens for token in text], np.uint16)
    ends = np.cumsum([0, *map(len, tokens)])
    samples = type(samples)(["plain", "more59"], flat, ends, np.zeros(2, np.int32), {}, "print")
    with pytest.raises(UsageError, match=r"larger than its embedding, which has 300 rows: text 1 holds token 3"):
        learner_of(folder, 32, samples)
    fine = type(samples)(["plain"], flat[: ends[1]], ends[:2], np.zeros(1, np.int32), {}, "other")
    assert learner_of(folder, 32, fine).initial(0).size


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("model.decoder.layers.0.fc1.ia3_l", "hold an adapter's too"),
        ("model.decoder.final_layer_norm.modules_to_save.default.weight", "hold an adapter's too"),
        ("model.decoder.layers.0.fc1.SCB", "scales of quantised ones"),
        ("model.decoder.layers.0.fc1.weight_scale_inv", "scales of quantised ones"),
    ],
)
def test_weights_that_say_that_the_others_are_not_plain(tiny_models, tmp_path, more, line):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_models("opt"), tmp_path / "model")
    file = folder / "model.safetensors"
    save_file({**load_file(file), more: torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=line):
        learner_of(folder, 32)


def test_weights_that_are_left_out_are_said_and_broken_ones_refused(tiny_models, tmp_path, caplog):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_models("opt"), tmp_path / "model")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.decoder.layers.7.fc1.bias": torch.ones(2)}, file, metadata={"format": "pt"})
    learner_of(folder, 32)
    assert "1 weights of" in caplog.text
    assert "layers.7.fc1.bias" in caplog.text
    tensors["model.decoder.embed_tokens.weight"][250, 3] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"not finite, such as in model\.decoder\.embed_tokens\.weight"):
        learner_of(folder, 32)
