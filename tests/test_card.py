"""The card beside an adapter says what is in it, and its code loads it."""

import json
import re

import numpy as np
import pytest
import torch
import yaml

import cllora
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.spec import LoraSpec, ModelSpec, Study
from support.samples import made_up_samples
from support.studies import study_fields

IDS = np.arange(8)


def saved(name, folder, context=40, positions="as_trained", **lora):
    """A learner, numbers away from where it starts, and the folder that they are saved in as an adapter."""
    model = ModelSpec(name=str(name), context=context, positions=positions, precision="float32", device="cpu")
    learner = Learner(load_base(model, LoraSpec(r=2, lora_dropout=0, **lora)), made_up_samples(12, context), context)
    start = learner.initial(0)
    adapter = (start + np.random.default_rng(1).normal(0, 0.1, start.shape)).astype(np.float32)
    learner.save_adapter(adapter, folder)
    return learner, adapter


def card_of(folder):
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("opt", {}),
        ("llama", {"target_modules": ".*q_proj", "modules_to_save": "gate_proj"}),
        ("llama", {"positions": "yarn", "context": 160}),
        ("opt", {"positions": "interpolate", "context": 160}),
        ("gpt2", {"train": "lora+embeddings", "embedding_rows": (5, 7), "use_dora": True}),
    ],
    ids=["opt", "regex", "rotary", "table", "rows"],
)
def test_the_code_on_the_card_loads_the_adapter(family, how, tiny_models, tmp_path, monkeypatch):
    learner, adapter = saved(tiny_models(family), tmp_path, **how)
    code = re.search(r"```python\n(.*?)```", card_of(tmp_path)[1], re.S)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    model = names["model"].eval()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    texts = [torch.from_numpy(learner.samples.tokens_of(int(i), learner.context))[None] for i in IDS]
    with torch.no_grad():
        found = [float(model(input_ids=text, labels=text).loss) * (text.shape[1] - 1) for text in texts]
    np.testing.assert_allclose(found, learner.evaluate("global", adapter, IDS).nll, rtol=2e-5)


def test_the_card_says_what_was_trained_on_what(tiny_models, tmp_path):
    learner, adapter = saved(
        tiny_models("llama"), tmp_path, target_modules=("q_proj",), layers_to_transform=1, modules_to_save="down_proj"
    )
    fields, text = card_of(tmp_path)
    text = " ".join(text.split())
    assert fields == {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["lora", "cllora"]}
    assert f"Written by cllora {cllora.__version__}" in text
    assert learner.base.fingerprint in text
    assert f"`{tiny_models('llama')}`, {learner.base.full_parameters:,} weights" in text
    assert "LoRA: rank 2, alpha 16, on `q_proj`, in layers 1 " in text
    assert f"trained: {len(adapter):,} numbers" in text
    assert "trained whole beside it: `model.layers.0.mlp.down_proj`, `model.layers.1.mlp.down_proj`" in text
    assert "bfloat16" in text
    assert "[More Information Needed]" not in text


def test_an_exported_adapter_has_the_card_of_a_run(command, tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, federation__num_rounds=1)
    run = cllora.run(Study.parse(fields), tmp_path / "out") / "seed=0"
    assert command("export", run, "--out", tmp_path / "adapter")[0] == 0
    trained_on = json.loads((run / "environment.json").read_text())["model"]["fingerprint"]
    for folder in (run / "adapter", tmp_path / "adapter"):
        assert f"fingerprint `{trained_on}`" in " ".join(card_of(folder)[1].split())
