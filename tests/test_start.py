"""Going on from an adapter (`lora.start`): training begins at it, round 0 shows it, and nothing else will do."""

import json
import shutil

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import cllora
from cllora.errors import UsageError
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.runs.export import export_run
from cllora.spec import LoraSpec, ModelSpec, Study
from cllora.store import read_losses, read_rounds
from support.samples import made_up_samples
from support.studies import study_fields

R8 = {"r": 8, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def adapter(tiny_models, tmp_path_factory):
    """An adapter that PEFT alone made: rank 8, none of its numbers zero."""
    folder = tmp_path_factory.mktemp("adapter") / "theirs"
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt"))
    config = peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.1, **R8)
    model = peft.get_peft_model(base, config)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    return folder


def learner_of(folder, **lora):
    model = ModelSpec(name=str(folder), context=40, precision="float32", device="cpu")
    return Learner(load_base(model, LoraSpec(lora_dropout=0, **lora)), made_up_samples(), 40)


def study(tiny_models, texts, start, **changes):
    fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, federation__num_rounds=1, **changes)
    return Study.parse({**fields, "lora": {**R8, "start": str(start)}})


def test_training_begins_at_the_adapter(tiny_models, adapter):
    learner = learner_of(tiny_models("opt"), **R8, start=str(adapter))
    stock = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt")), adapter
    ).eval()
    ids = np.arange(10)
    expected = []
    with torch.no_grad():
        for i in ids:
            text = torch.from_numpy(learner.samples.tokens_of(int(i), 40))[None]
            expected.append(float(stock(input_ids=text, labels=text).loss) * (text.shape[1] - 1))
    start = learner.initial(0)
    np.testing.assert_allclose(learner.evaluate("global", start, ids).nll, expected, rtol=2e-5)
    np.testing.assert_array_equal(learner.initial(1), start)
    assert learner.is_base(start)
    assert not learner.is_base(np.zeros_like(start))
    kept = load_file(adapter / "adapter_model.safetensors")
    for name, values in learner.layout.split(start).items():
        np.testing.assert_array_equal(values, kept[name])


def test_a_study_goes_on_from_a_runs_folder_and_hands_back_one_adapter(tiny_models, texts, adapter, tmp_path):
    first = cllora.run(study(tiny_models, texts, adapter), tmp_path / "first") / "seed=0"
    second = cllora.run(study(tiny_models, texts, first), tmp_path / "second") / "seed=0"
    ended, began = read_rounds(first)[-1]["global_loss"], read_rounds(second)[0]["global_loss"]
    assert began == pytest.approx(ended, rel=1e-6)
    plain = cllora.run(study(tiny_models, texts, adapter), tmp_path / "again") / "seed=0"
    assert read_losses(plain).equals(read_losses(first))
    export_run(second, tmp_path / "merged", merged=True)
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    alone = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt")), second / "adapter"
    )
    text = torch.arange(4, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=text).logits, alone(input_ids=text).logits, rtol=1e-4, atol=1e-4)


def test_a_start_that_changed_since_is_refused_and_base_losses_are_its_own(tiny_models, texts, adapter, tmp_path):
    place = tmp_path / "start"
    shutil.copytree(adapter, place)
    out = cllora.run(study(tiny_models, texts, place), tmp_path / "out")
    tensors = load_file(place / "adapter_model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in tensors.items()}, place / "adapter_model.safetensors")
    with pytest.raises(UsageError, match=r"adapter in .* has changed since"):
        cllora.run(study(tiny_models, texts, place, seeds=2), out)
    other = cllora.run(study(tiny_models, texts, place), tmp_path / "other")
    assert {path.name for path in out.glob("base-*.npy")}.isdisjoint(path.name for path in other.glob("base-*.npy"))


def rewritten(adapter, folder, **changes):
    shutil.copytree(adapter, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"r": 4}, "has r 8, but lora.r is 4; set it to 8"),
        ({"lora_alpha": 16}, "has lora_alpha 4, but lora.lora_alpha is 16"),
        ({"use_rslora": True}, "has use_rslora False, but lora.use_rslora is True"),
        ({"use_dora": True}, "has use_dora False, but"),
        ({"target_modules": ("q_proj",)}, r"has .*v_proj.* its config says lora.target_modules: \[q_proj, v_proj\]"),
        ({"target_modules": ("q_proj", "v_proj", "fc1")}, "has nothing for .*fc1"),
        ({"layers_to_transform": (0,)}, r"has .*layers\.1"),
    ],
)
def test_an_adapter_of_another_shape_is_refused(tiny_models, adapter, asked, line):
    with pytest.raises(UsageError, match=line) as caught:
        learner_of(tiny_models("opt"), **{**R8, **asked}, start=str(adapter))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"alpha_pattern": {"q_proj": 32}}, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's weights"),
        ({"bias": "all"}, "has bias all"),
        ({"peft_type": "IA3"}, "no LoRA adapter"),
        ({"peft_type": 7}, "peft_type is 7"),
        ({"r": "eight"}, "has r eight"),
    ],
)
def test_an_adapter_of_another_function_is_refused(tiny_models, adapter, tmp_path, changes, line):
    with pytest.raises(UsageError, match=line) as caught:
        learner_of(tiny_models("opt"), **R8, start=str(rewritten(adapter, tmp_path / "it", **changes)))
    assert "\n" not in str(caught.value)


def test_what_is_no_adapter_is_refused_in_one_line(tiny_models, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "cut")
    (tmp_path / "cut" / "adapter_model.safetensors").write_bytes(b"short")
    shutil.copytree(adapter, tmp_path / "bare")
    (tmp_path / "bare" / "adapter_model.safetensors").unlink()
    shutil.copytree(adapter, tmp_path / "nan")
    file = tmp_path / "nan" / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(file).items()}, file)
    for place, line in [
        (tmp_path / "none", "there is no folder"),
        (tiny_models("opt"), "holds no adapter"),
        (tmp_path / "cut", "cannot read"),
        (tmp_path / "bare", "save the adapter with safetensors"),
        (tmp_path / "nan", "not finite"),
    ]:
        with pytest.raises(UsageError, match=line):
            learner_of(tiny_models("opt"), **R8, start=str(place))
    with pytest.raises(UsageError, match="another model's adapter"):
        learner_of(tiny_models("opt"), **R8, start=str(other_shape(adapter, tmp_path / "wide")))


def other_shape(adapter, folder):
    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    save_file({name: torch.cat([tensor, tensor], 1) for name, tensor in load_file(file).items()}, file)
    return folder


def test_an_adapter_of_another_base_is_said(tiny_models, adapter, caplog):
    learner_of(tiny_models("opt-350m"), **R8, start=str(adapter))
    assert "was trained on another base" in caplog.text


@pytest.mark.parametrize("whole", [False, True])
def test_an_adapter_is_no_base(tiny_models, adapter, tmp_path, whole):
    """transformers would load its base and put the adapter on it, or leave it out."""
    place = adapter
    if whole:
        place = tmp_path / "both"
        shutil.copytree(tiny_models("opt"), place)
        for file in adapter.glob("adapter*"):
            shutil.copy(file, place)
    with pytest.raises(UsageError, match=r"is an adapter, not a base; set model\.name to .* and lora\.start to"):
        load_base(ModelSpec(name=str(place), device="cpu", precision="float32"), LoraSpec())


def test_weights_that_hold_an_adapter_too_are_no_base(tiny_models, tmp_path):
    shutil.copytree(tiny_models("opt"), tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    more = {"model.decoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 32)}
    save_file({**load_file(file), **more}, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"hold an adapter's too, such as .*lora_A"):
        load_base(ModelSpec(name=str(tmp_path / "base"), device="cpu", precision="float32"), LoraSpec())


def made_by_peft(folder, out, **config):
    """An adapter that PEFT alone made on a base, all of its numbers moved."""
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    asked = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **config}
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **asked))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(out, save_embedding_layers=False)
    return out


def worst(learner, folder, adapter):
    """The largest difference to stock PEFT, in nats per token."""
    stock = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    found = learner.evaluate("global", learner.initial(0), np.arange(10)).nll
    differences = []
    with torch.no_grad():
        for i in range(10):
            text = torch.from_numpy(learner.samples.tokens_of(i, 40))[None]
            tokens = text.shape[1] - 1
            differences.append(abs(found[i] / tokens - float(stock(input_ids=text, labels=text).loss)))
    return max(differences)


FOUR = {"r": 4, "lora_alpha": 8, "target_modules": ("q_proj", "v_proj")}


def test_trained_rows_of_the_embedding_are_those_of_the_start(tiny_models, tmp_path):
    folder = tiny_models("opt")
    place = made_by_peft(folder, tmp_path / "rows", trainable_token_indices=[5, 9, 20])
    rows = {**FOUR, "train": "lora+embeddings", "start": str(place)}
    assert worst(learner_of(folder, **rows, embedding_rows=(5, 9, 20)), folder, place) < 1e-5
    for other in ((6, 10, 21), (20, 9, 5)):
        with pytest.raises(UsageError, match=r"trains the rows \[5, 9, 20\]"):
            learner_of(folder, **rows, embedding_rows=other)


@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`", "ignore:Model has `tie_word_embeddings")
def test_a_head_of_its_own_is_not_dropped_where_the_base_has_none(tiny_models, tmp_path):
    place = made_by_peft(tiny_models("opt"), tmp_path / "own", modules_to_save=["embed_tokens", "lm_head"])
    with pytest.raises(UsageError, match="head has values of its own"):
        learner_of(tiny_models("opt"), **FOUR, train="lora+embeddings", start=str(place))


def test_our_adapters_know_their_base_by_its_weights(tiny_models, texts, adapter, tmp_path, caplog):
    """Two bases may lie in folders of one name."""
    first = cllora.run(study(tiny_models, texts, adapter), tmp_path / "first") / "seed=0"
    caplog.clear()
    same = shutil.copytree(tiny_models("opt"), tmp_path / "renamed")
    learner_of(same, **R8, start=str(first))
    assert "another base" not in caplog.text
    other = transformers.AutoModelForCausalLM.from_pretrained(same)
    other.model.decoder.layers[0].fc1.bias.data += 0.01
    other.save_pretrained(tmp_path / "elsewhere" / "opt")
    learner_of(tmp_path / "elsewhere" / "opt", **R8, start=str(first))
    assert "another base" in caplog.text


def test_odd_fields_of_an_adapter_end_in_one_line(tiny_models, adapter, tmp_path):
    odd = {"base_model_name_or_path": 7, "layers_to_transform": 1}
    learner_of(tiny_models("opt"), **R8, start=str(rewritten(adapter, tmp_path / "odd", **odd)))
    with pytest.raises(UsageError, match="layers_to_transform: 1"):
        learner_of(tiny_models("opt"), **{**R8, "target_modules": ("q_proj",)}, start=str(tmp_path / "odd"))
    with pytest.raises(UsageError, match="name the folder"):
        learner_of(tiny_models("opt"), **R8, start=str(adapter / "adapter_model.safetensors"))
