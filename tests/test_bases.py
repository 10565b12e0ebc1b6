"""The bases that ship inside the package: they load by name without a network, and their cards tell the truth."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from cllora.errors import UsageError
from cllora.model import source
from cllora.model.learner import Learner
from cllora.model.load import load_base, save_merged
from cllora.model.tokenizer import ModelTokenizer
from cllora.presets import WIDTHS, stand_ins
from cllora.spec import LoraSpec, ModelSpec
from cllora.types import Samples

ROOT = Path(__file__).parents[1]
ONE_BY_ONE = source.BASES[:-1]  # pretrained on docstrings one by one; the last one on joined ones
LORA = LoraSpec(target_modules=("q_proj", "v_proj"))


def folder(name: str) -> Path:
    return Path(source.where(name))


def facts(name: str) -> dict:
    return json.loads((folder(name) / "pretraining.json").read_text())


@pytest.mark.parametrize("name", source.BASES)
def test_a_base_loads_by_name(name, tmp_path):
    base = load_base(ModelSpec(name=name, device="cpu", precision="float32"), LORA)
    assert base.model.config.hidden_size == WIDTHS.get(name, 256)
    assert base.full_parameters == facts(name)["parameters"]
    save_merged(base, tmp_path)
    assert ModelTokenizer(str(tmp_path)).fingerprint == ModelTokenizer(name).fingerprint


@pytest.mark.parametrize("name", source.BASES)
def test_a_base_has_learned_what_its_card_says(name):
    """On two docstrings, within a wide margin of the figure for hundreds: it is no random model."""
    texts = [np.mean.__doc__, "Return the number of rows of the table.\n\nRaises\n------\nValueError\n    If empty."]
    tokenizer = ModelTokenizer(name)
    ids = [[*tokenizer.encode([text])[0][:400]] for text in texts]
    offsets = np.cumsum([0, *map(len, ids)])
    samples = Samples([""] * 2, np.concatenate(ids).astype(np.uint16), offsets, np.zeros(2, np.int32), {}, "docstrings")
    base = load_base(ModelSpec(name=name, context=512, device="cpu", precision="float32"), LORA)
    learner = Learner(base, samples, 512)
    losses = learner.evaluate("global", learner.initial(0), np.arange(2))
    per_token = losses.nll.sum() / losses.tokens.sum()
    assert abs(per_token - facts(name)["demo"]["nats_per_token"]) < 1.0
    assert per_token < np.log(tokenizer.vocabulary) - 2


def test_the_bases_share_one_tokenizer_and_one_set_of_texts():
    assert len({ModelTokenizer(name).fingerprint for name in source.BASES}) == 1
    assert len({facts(name)["train_set"]["sha256"] for name in ONE_BY_ONE}) == 1
    for part in ("held_out", "demo"):
        assert len({(facts(name)[part]["documents"], facts(name)[part]["bytes"]) for name in ONE_BY_ONE}) == 1


def test_a_wider_base_predicts_better():
    for part in ("held_out", "demo"):
        bits = [facts(name)[part]["bits_per_byte"] for name in ONE_BY_ONE]
        assert bits == sorted(bits, reverse=True)


def test_the_bases_cost_the_package_little():
    sizes = {name: sum(path.stat().st_size for path in folder(name).iterdir()) for name in source.BASES}
    assert sizes["embedded-64"] + sizes["embedded-128"] < 3e6
    assert sizes["embedded-rotary"] < 10e6


def test_the_rotary_base_is_for_long_contexts():
    base = load_base(ModelSpec(name="embedded-rotary", context=512, device="cpu", precision="float32"), LORA)
    config = base.model.config
    assert (config.model_type, config.max_position_embeddings) == ("llama", 512)
    assert (config.num_attention_heads, config.num_key_value_heads) == (8, 2)
    with pytest.raises(UsageError, match="'embedded-rotary' has 512 positions"):
        load_base(ModelSpec(name="embedded-rotary", context=4096, device="cpu", precision="float32"), LORA)
    longer = ModelSpec(name="embedded-rotary", context=4096, positions="linear", device="cpu", precision="float32")
    assert load_base(longer, LORA).model.config.max_position_embeddings == 4096


@pytest.mark.parametrize("name", source.BASES)
def test_a_card_has_the_figures_and_the_way_to_make_them(name):
    card, found = (folder(name) / "README.md").read_text(), facts(name)
    assert f"**{found['held_out']['bits_per_byte']:.2f}**" in card
    by_first = facts("embedded") if name in ONE_BY_ONE else found["by_first"]
    assert f"**{by_first['demo']['bits_per_byte']:.2f}**" in card
    if name == "embedded-rotary":
        assert "scripts/pretrain --architecture rotary" in card
    elif name != "embedded":
        assert f"--width {WIDTHS[name]} --seed {found['plan']['seed']} --tokens {found['plan']['tokens']}" in card


def test_every_base_is_package_data():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cllora"]
    package = ROOT / "src" / "cllora"
    shipped = {path for pattern in declared for path in package.glob(pattern)}
    for name in source.BASES:
        assert {folder(name) / "config.json", folder(name) / "model.safetensors"} <= shipped


def test_presets_and_model_name_the_same_bases():
    (paper,) = stand_ins()
    assert tuple(paper.models.values()) == tuple(WIDTHS) == ONE_BY_ONE


@pytest.mark.parametrize(
    "load", [ModelTokenizer, lambda name: load_base(ModelSpec(name=name, device="cpu", precision="float32"), LORA)]
)
def test_a_name_that_is_nearly_one_of_theirs_is_guessed(load):
    with pytest.raises(UsageError, match=r"did you mean 'embedded-64'\? choices: embedded, embedded-128, embedded-64"):
        load("embeded-64")
    with pytest.raises(UsageError) as other:
        load("nobody/knows-this")
    assert "embedded" not in str(other.value)


def test_where_a_narrow_base_sees_less_it_says_so():
    with pytest.raises(UsageError, match="'embedded-64' has 1024 positions"):
        load_base(ModelSpec(name="embedded-64", context=2048, device="cpu", precision="float32"), LORA)


def test_weights_are_bfloat16():
    from safetensors.torch import load_file

    for name in source.BASES:
        assert {weights.dtype for weights in load_file(folder(name) / "model.safetensors").values()} == {torch.bfloat16}
