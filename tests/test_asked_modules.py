"""Which modules get LoRA and which are trained whole, in PEFT's ways of naming them; and DoRA, against PEFT's own."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers

from cllora.errors import UsageError
from cllora.model.dora import dora_forward
from cllora.model.frozen import FrozenLayer
from cllora.model.learner import Learner
from cllora.model.load import load_base, save_merged
from cllora.model.routing import AdapterRouting
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Matrix, Work
from support.samples import made_up_samples

CONTEXT = 40
IDS = np.arange(10)


def learner_of(folder, precision="float32", dropout=0.0, **lora):
    model = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device="cpu")
    return Learner(load_base(model, LoraSpec(lora_dropout=dropout, **lora)), made_up_samples(), CONTEXT)


def changed(learner):
    """Where training starts, and some numbers away from it."""
    start = learner.initial(0)
    return (start + np.random.default_rng(1).normal(0, 0.05, start.shape)).astype(np.float32)


def stock(folder, adapter):
    return peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), adapter).eval()


def losses(model, learner, ids=IDS):
    found = []
    with torch.no_grad():
        for i in ids:
            text = torch.from_numpy(learner.samples.tokens_of(int(i), CONTEXT))[None]
            found.append(float(model(input_ids=text, labels=text).loss) * (text.shape[1] - 1))
    return found


@pytest.mark.parametrize(
    ("family", "lora", "modules"),
    [
        ("opt", {"target_modules": "all-linear"}, "q_proj k_proj v_proj out_proj fc1 fc2"),
        ("gpt2", {"target_modules": "all-linear"}, "c_attn c_proj c_fc"),
        ("opt", {"target_modules": "q_proj"}, "q_proj"),
        ("opt", {"target_modules": "self_attn.q_proj"}, "q_proj"),
        ("llama", {"target_modules": r".*layers\.1\.self_attn\.(q|o)_proj"}, "q_proj o_proj"),
        ("llama", {"target_modules": ("gate_proj", "q_proj"), "layers_to_transform": 1}, "q_proj gate_proj"),
        ("opt", {"modules_to_save": "fc2"}, "q_proj v_proj"),
        ("llama", {"modules_to_save": ("lm_head", "mlp")}, "q_proj v_proj"),
        ("gpt_neox", {"use_dora": True}, "query_key_value"),
        ("gpt2", {"use_dora": True, "target_modules": "all-linear", "use_rslora": True}, "c_attn c_proj c_fc"),
    ],
)
def test_what_is_asked_for_is_trained_saved_and_merged(tiny_models, tmp_path, family, lora, modules):
    """Held to PEFT, which loads the adapter by itself, and to the merged model, which needs nothing of ours."""
    folder = tiny_models(family)
    learner = learner_of(folder, **lora)
    assert sorted(learner.base.targets) == sorted(modules.split())
    assert learner.is_base(learner.initial(3))
    np.testing.assert_allclose(
        learner.evaluate("base", learner.initial(3), IDS).nll,
        losses(transformers.AutoModelForCausalLM.from_pretrained(folder), learner),
        rtol=2e-5,
    )
    adapter = changed(learner)
    found = learner.evaluate("global", adapter, IDS).nll
    learner.save_adapter(adapter, tmp_path / "adapter")
    np.testing.assert_allclose(found, losses(stock(folder, tmp_path / "adapter"), learner), rtol=2e-5)
    learner.adapters.write(adapter)
    save_merged(learner.base, tmp_path / "merged")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(found, losses(merged, learner), rtol=2e-5)


def test_layers_to_transform_are_the_layers_and_no_others(tiny_models):
    names = learner_of(tiny_models("llama"), target_modules=("q_proj",), layers_to_transform=(1,)).layout.names
    assert len(names) == 2
    assert all(".layers.1." in name for name in names)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dora_starts_at_the_base_and_learns(tiny_models, precision):
    learner = learner_of(tiny_models("opt"), precision, dropout=0.1, use_dora=True)
    start = learner.initial(0)
    lengths = learner.layout.split(start)[
        "base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_magnitude_vector"
    ]
    weight = learner.base.model.get_base_model().model.decoder.layers[0].self_attn.q_proj.base_layer.weight
    np.testing.assert_allclose(lengths, weight.detach().float().norm(dim=1), rtol=1e-6)
    local = LocalSpec(epochs=2, batch_size=7, learning_rate=5e-3)
    jobs = [Job(Work(start), np.arange(k, 60, 2), ("client", k)) for k in (0, 1)]
    both = learner.train(jobs, local, 0)
    assert all(np.isfinite(trained.adapter).all() for trained in both)
    before, after = (learner.evaluate("global", vector, jobs[0].ids).nll.sum() for vector in (start, both[0].adapter))
    assert after < before
    np.testing.assert_array_equal(learner.train([jobs[1]], local, 0)[0].adapter, both[1].adapter)


def test_the_gradient_of_dora_is_pefts(tiny_models, tmp_path):
    """PEFT's own forward and autograd, one text at a time, in float32."""
    learner = learner_of(tiny_models("llama"), use_dora=True)
    adapter = changed(learner)
    learner.adapters.write(adapter)
    learner.gradients([IDS], np.array([learner.samples.predicted(IDS, CONTEXT).sum()]), [torch.Generator()])
    found = learner.layout.split(learner.adapters.gradients[0].numpy())
    learner.save_adapter(adapter, tmp_path)
    model = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(tiny_models("llama")), tmp_path, is_trainable=True
    ).eval()
    for i in IDS:
        text = torch.from_numpy(learner.samples.tokens_of(int(i), CONTEXT))[None]
        (model(input_ids=text, labels=text).loss * (text.shape[1] - 1)).backward()
    count = learner.samples.predicted(IDS, CONTEXT).sum()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")
            np.testing.assert_allclose(found[key], parameter.grad / count, atol=2e-6, rtol=2e-4, err_msg=name)


def test_dropout_in_dora_is_on_what_comes_in_twice():
    """By hand in float64: base(x) + (m/n - 1) W z + (m/n) s B A z, with the same mask z of x in both."""
    linear = torch.nn.Linear(8, 6)
    config = peft.LoraConfig(r=2, lora_alpha=6, lora_dropout=0.5, target_modules=["0"], use_dora=True)
    layer = peft.get_peft_model(torch.nn.Sequential(linear), config).base_model.model[0]
    layer.lora_B["default"].weight.data.normal_()
    layer.lora_magnitude_vector["default"].weight.data.mul_(1.5)
    x = torch.randn(1, 5, 8)

    class Meets:
        routing = AdapterRouting([5], None, [torch.Generator().manual_seed(3)])

    nothing = FrozenLayer(Matrix("0", slice(0, 16), slice(16, 28), 2, 6, 8, 3.0), torch.device("cpu"))
    found = dora_forward(layer, Meets, nothing, x)
    z = AdapterRouting([5], None, [torch.Generator().manual_seed(3)]).dropped(x, 0.5).double()
    assert (z == 0).any()
    w, change = (
        linear.weight.double(),
        3 * layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double(),
    )
    length = layer.lora_magnitude_vector["default"].weight.double() / (w + change).norm(dim=1)
    expected = linear(x).double() + (length - 1) * (z @ w.t()) + length * (z @ change.t())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("lora", "line"),
    [
        ({"target_modules": ("q_proj", "v_prj")}, "called 'v_prj'; did you mean 'v_proj'"),
        ({"target_modules": "v_prj"}, "called 'v_prj'; did you mean 'v_proj'"),
        ({"target_modules": "q_proj,v_proj"}, "several names go into a list"),
        ({"target_modules": r"model\..*\.query"}, "is not the whole path of any module"),
        ({"target_modules": "(q_proj"}, "is no regex"),
        ({"target_modules": r".*\.(q_proj|v_porj)"}, "matches nothing by its 'v_porj'; did you mean 'v_proj'"),
        ({"target_modules": r".*\.(?:k_prj|q_proj)"}, "matches nothing by its 'k_prj'"),
        ({"target_modules": ("q_proj", "self_attn")}, "is a OPTAttention; leave it out"),
        ({"layers_to_transform": (0, 2)}, r"has no layer 2 .* 0 to 1"),
        ({"target_modules": ".*q_proj", "layers_to_transform": (0,)}, "say the layers in the regex"),
        ({"modules_to_save": ("fc1", "nothing")}, "no module with weights called 'nothing'"),
        ({"modules_to_save": ("lm_head",)}, r"shares its weight .* lora\+embeddings"),
        ({"modules_to_save": ("self_attn",)}, "has LoRA too"),
        ({"modules_to_save": ("decoder", "fc1"), "target_modules": ("lm_head",)}, "lies in another module"),
        ({"target_modules": ("all-linear", "q_proj")}, "stands alone"),
        ({"target_modules": ("q_proj", "layers.0.fc1"), "layers_to_transform": (1,)}, "in the layers asked for"),
        ({"target_modules": ".*"}, "the whole of"),
    ],
)
def test_what_matches_nothing_is_refused_by_name(tiny_models, lora, line):
    with pytest.raises(UsageError, match=line) as caught:
        learner_of(tiny_models("opt"), **lora)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lora", "line"),
    [
        ({"target_modules": ("q_proj", "q_proj")}, "names q_proj twice"),
        ({"target_modules": ()}, "at least 1"),
        ({"train": "full", "use_dora": True}, "use_dora is of LoRA"),
        ({"train": "full", "start": "adapter"}, "start is of LoRA"),
        ({"use_dora": True, "train": "lora+embeddings", "embedding_r": 2}, "leave out embedding_r"),
        ({"layers_to_transform": (-1,)}, "greater than or equal to 0"),
        ({"layers_to_transform": True}, "layers_to_transform"),
    ],
)
def test_what_makes_no_sense_is_refused(lora, line):
    with pytest.raises(ValueError, match=line):
        LoraSpec(**lora)


def test_a_family_that_peft_has_no_default_for_gets_lora_on_all_of_attention(
    tiny_models, tmp_path, monkeypatch, caplog
):
    from cllora.model import targets

    monkeypatch.setattr(targets, "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING", {})
    learner = learner_of(tiny_models("llama"))
    assert learner.base.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert "all linear layers of attention get LoRA: q_proj, k_proj, v_proj, o_proj" in caplog.text


def test_a_model_without_norms_is_refused_where_norms_are_to_be_trained(tiny_models, monkeypatch):
    from cllora.model import parts

    monkeypatch.setattr(parts, "is_norm", lambda module: False)
    with pytest.raises(UsageError, match="no norms were found"):
        learner_of(tiny_models("opt"), train="lora+norms")


def test_a_run_records_which_modules_had_lora(tiny_models, texts, tmp_path):
    import cllora
    from cllora.spec import Study
    from support.studies import study_fields

    fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, federation__num_rounds=1)
    fields["lora"] = {"target_modules": "all-linear", "use_dora": True}
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    recorded = json.loads((folder / "seed=0" / "environment.json").read_text())["model"]
    assert sorted(recorded["lora_on"]) == ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]
    page = cllora.report(folder).read_text()
    assert "use_dora" in page
    assert "q_proj, " in page


def test_head_and_embedding_of_an_untied_base_are_trained_apart(tiny_models, tmp_path):
    """A common recipe for new tokens; sharing one weight would make another model of the base at once."""
    folder = tiny_models("llama")
    for lora in (
        {"modules_to_save": ("embed_tokens", "lm_head")},
        {"train": "lora+embeddings", "modules_to_save": "lm_head"},
    ):
        learner = learner_of(folder, **lora)
        stocks = losses(transformers.AutoModelForCausalLM.from_pretrained(folder), learner)
        np.testing.assert_allclose(learner.evaluate("base", learner.initial(0), IDS).nll, stocks, rtol=2e-5)
        assert sum("lm_head" in name or "embed_tokens" in name for name in learner.layout.names) == 2
        adapter = changed(learner)
        found = learner.evaluate("global", adapter, IDS).nll
        out = tmp_path / str(len(lora))
        learner.save_adapter(adapter, out / "adapter")
        np.testing.assert_allclose(found, losses(stock(folder, out / "adapter"), learner), rtol=2e-5)
        learner.adapters.write(adapter)
        save_merged(learner.base, out / "merged")
        merged = transformers.AutoModelForCausalLM.from_pretrained(out / "merged")
        np.testing.assert_allclose(found, losses(merged, learner), rtol=2e-5)


def test_norms_within_a_module_that_is_trained_whole_are_trained_with_it(tiny_models, tmp_path):
    learner = learner_of(tiny_models("llama"), train="lora+norms", modules_to_save="layers.1", layers_to_transform=0)
    learner.save_adapter(changed(learner), tmp_path)
    np.testing.assert_allclose(
        learner.evaluate("global", changed(learner), IDS).nll,
        losses(stock(tiny_models("llama"), tmp_path), learner),
        rtol=2e-5,
    )


def test_a_part_of_an_embedding_that_is_trained_whole_is_refused(tiny_models):
    with pytest.raises(UsageError, match="of which lora trains a part already"):
        learner_of(tiny_models("llama"), train="lora+embeddings", embedding_r=2, modules_to_save="embed_tokens")
