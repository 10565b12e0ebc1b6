"""What the lower layers make of a text, computed once: the numbers of a learner that computes it in every pass."""

import logging
import os
import shutil
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
import transformers
from transformers.modeling_layers import GradientCheckpointingLayer

import cllora
from cllora.model.activations import BLOCK
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import pattern_of
from cllora.runs.activation_file import ActivationFile
from cllora.spec import Choice, LocalSpec, LoraSpec, ModelSpec, Study
from cllora.types import Job, Model, Work
from support.learning import stock_losses
from support.models import FAMILIES
from support.samples import made_up_samples
from support.studies import interrupted, numbers, study_fields

CONTEXT = 40
LOCAL = LocalSpec(batch_size=4, learning_rate=5e-3)
UPPER = LoraSpec(lora_dropout=0.3, layers_to_transform=(1,))
TOGETHER = {"name": "inline", "together": 4}
S2 = pattern_of(Choice(name="s2", group=8), CONTEXT)
IDS = np.arange(20)


def learner_of(folder, place=None, lora=UPPER, most=10**9, **choices):
    """A learner on a tiny model, which keeps activations in the folder `place`, if there is one."""
    patterns = {use: choices.pop(use) for use in ("trained", "evaluated") if use in choices}
    spec = ModelSpec(name=str(folder), context=CONTEXT, device="cpu", **{"precision": "float32", **choices})
    learner = Learner(load_base(spec, lora), made_up_samples(), CONTEXT, **patterns)
    if place is not None:
        learner.keep_activations(lambda use, below: partial(ActivationFile, place / f"{use}-{below}", most=most))
    return learner


def both(folder, place, **choices):
    return learner_of(folder, None, **choices), learner_of(folder, place, **choices)


@pytest.fixture(scope="module")
def of_llama(tiny_models):
    """What a learner on `llama` comes to that keeps nothing."""
    return everything(learner_of(tiny_models("llama")))


def adapter_of(learner, seed=1):
    draw = np.random.default_rng(seed).normal(0, 0.1, learner.layout.size)
    return learner.initial(0) + draw.astype(np.float32)


def everything(learner):
    """The losses of a model, what three clients come to who train at once, and what tokens and keys come to."""
    adapter = adapter_of(learner)
    jobs = [
        Job(Work(adapter_of(learner, number), gradient=True), np.arange(start, stop), ("x", number), context)
        for number, (start, stop, context) in enumerate(((0, 6, None), (6, 10, 12), (10, 21, None)))
    ]
    found = [learner.evaluate("x", adapter, IDS).nll, learner.evaluate("x", adapter, IDS, 11).nll]
    for trained in learner.train(jobs, LOCAL, 0):
        found += [trained.adapter, trained.gradient, np.array(trained.loss)]
    for use in ("training", "evaluation"):
        found += [block.nll for block in learner.token_losses(adapter, IDS, learner.patterns[use])]
    recalled, losses = learner.recall(adapter, IDS)
    entropies = learner.head_entropies(adapter, IDS)
    return [*found, recalled, losses.nll, entropies.nats, entropies.share]


def assert_same(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        if tolerance:
            np.testing.assert_allclose(one, other, **tolerance)
        else:
            assert np.array_equal(one, other)


def tokens_met(learner):
    """The tokens that went through each layer from here on."""
    met = Counter()
    layers = [module for module in learner.base.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for number, layer in enumerate(layers):
        linear = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
        linear.register_forward_hook(lambda _, inputs, __, n=number: met.update({n: inputs[0].shape[:-1].numel()}))
    return met


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
def test_kept_activations_change_no_bit_of_any_family(family, tiny_models, tmp_path):
    whole, kept = both(tiny_models(family), tmp_path)
    expected = everything(whole)
    assert_same(everything(kept), expected)
    assert_same(everything(kept), expected)  # now that all of them are there
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "choices",
    [
        {"trained": S2},
        {"trained": S2, "evaluated": S2},
        {"checkpointing": True},
        {"precision": "bfloat16"},
        {"lora": LoraSpec(lora_dropout=0.3, target_modules=r".*layers\.1\..*(q_proj|down_proj)")},
        {"lora": LoraSpec(layers_to_transform=(1,), use_dora=True)},
        {"lora": LoraSpec(layers_to_transform=(1,), modules_to_save=("layers.1.input_layernorm", "norm"))},
    ],
)
def test_nor_with_other_patterns_precisions_and_parts(choices, tiny_models, tmp_path):
    whole, kept = both(tiny_models("llama"), tmp_path, **choices)
    assert_same(everything(kept), everything(whole))
    assert list(tmp_path.iterdir())


def test_what_is_frozen_under_an_adapter_is_above_the_lower_layers(tiny_models, tmp_path):
    whole, kept = both(tiny_models("llama"), tmp_path)
    matrix = whole.layout.matrices[0]
    dense = np.random.default_rng(0).normal(0, 0.1, (matrix.rows, matrix.columns)).astype(np.float32)
    model = Model(adapter_of(whole), {matrix.name: dense})
    losses = [learner.evaluate("x", model, IDS).nll for learner in (whole, kept)]
    assert np.array_equal(*losses)
    assert not np.array_equal(losses[0], whole.evaluate("x", model.adapter, IDS).nll)


def test_a_text_meets_the_lower_layers_once(tiny_models, tmp_path):
    first, second = (learner_of(tiny_models("llama"), tmp_path) for _ in range(2))
    met, met_later = tokens_met(first), tokens_met(second)
    lengths = first.samples.seen(np.arange(len(first.samples)), CONTEXT)
    for number in range(3):
        first.evaluate("x", adapter_of(first, number), IDS)
        first.train([Job(Work(adapter_of(first, number)), IDS, ("x",))], LOCAL, number)
    # In blocks of neighbours, with a little filler at a row's end; each block that has one of the texts.
    assert lengths[IDS].sum() <= met[0] <= lengths[IDS].sum() + BLOCK["cpu"] + 64
    assert met[1] > 5 * lengths[IDS].sum()
    second.evaluate("x", adapter_of(second), IDS)
    assert met_later[0] == 0
    assert met_later[1] >= lengths[IDS].sum()


@pytest.mark.parametrize(
    "lora",
    [
        LoraSpec(),
        LoraSpec(train="full"),
        LoraSpec(layers_to_transform=(1,), train="lora+norms"),
        LoraSpec(layers_to_transform=(1,), train="lora+embeddings"),
        LoraSpec(layers_to_transform=(1,), train="lora+embeddings", embedding_rows=(5, 9)),
        LoraSpec(layers_to_transform=(1,), modules_to_save=("layers.0.mlp.up_proj",)),
        LoraSpec(layers_to_transform=(0,)),
    ],
)
def test_nothing_is_kept_where_the_first_layer_has_something_trainable_or_what_is_below_it(lora, tiny_models, tmp_path):
    learner = learner_of(tiny_models("llama"), tmp_path, lora)
    learner.evaluate("x", adapter_of(learner), IDS)
    assert learner.network.lower is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing_is_an_error", [False, True])
def test_nor_where_a_layer_needs_more_of_those_below_than_their_states(missing_is_an_error, tiny_models):
    """As a model that shares keys between layers: here the second layer adds what the first one last met."""
    learner = learner_of(tiny_models("llama"))
    first, second = (m for m in learner.base.model.modules() if isinstance(m, GradientCheckpointingLayer))
    shared = []
    inner, upper = first.mlp.up_proj, second.mlp.forward
    inner.register_forward_hook(lambda _, inputs, __: shared.__setitem__(slice(None), [inputs[0]]))
    second.mlp.forward = lambda x: upper(x) + (shared.pop() if missing_is_an_error else shared[-1])
    learner.keep_activations(lambda *_: pytest.fail("no store is opened"))
    assert learner.network.lower is None


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_upper_layers_alone_are_pefts(family, tiny_models, tmp_path):
    """Names and numbers of what is trained, losses and a gradient, against PEFT with the field of that name."""
    learner = learner_of(tiny_models(family), tmp_path, LoraSpec(layers_to_transform=(1,), lora_dropout=0, r=3))
    adapter = adapter_of(learner)
    learner.evaluate("x", adapter, IDS)  # so that everything is kept
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family), attn_implementation="eager")
    config = peft.LoraConfig(r=3, lora_alpha=16, layers_to_transform=[1], target_modules=["q_proj", "v_proj"])
    stock = peft.get_peft_model(base, config).eval()
    named = {name.replace(".default", ""): p for name, p in stock.named_parameters() if p.requires_grad}
    assert {name: tuple(p.shape) for name, p in named.items()} == dict(
        zip(learner.layout.names, learner.layout.shapes, strict=True)
    )
    for name, values in learner.layout.split(adapter).items():
        named[name].data.copy_(torch.from_numpy(values))
    losses = learner.evaluate("x", adapter, IDS)
    np.testing.assert_allclose(losses.nll, stock_losses(stock, learner, IDS), rtol=2e-5)
    trained = learner.train([Job(Work(adapter, gradient=True), IDS, ("x",))], LocalSpec(batch_size=len(IDS)), 0)[0]
    for sample in IDS:
        text = torch.from_numpy(learner.samples.tokens_of(int(sample), CONTEXT))[None]
        loss = stock(input_ids=text, labels=text).loss * (text.shape[1] - 1) / losses.tokens.sum()
        loss.backward()
    expected = learner.layout.join({name: p.grad.numpy() for name, p in named.items()})
    np.testing.assert_allclose(trained.gradient, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("most", [0, 9_000])
def test_what_there_is_no_room_for_is_computed_in_every_pass(most, of_llama, tiny_models, tmp_path):
    kept = learner_of(tiny_models("llama"), tmp_path, most=most)
    assert_same(everything(kept), of_llama)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= most
    met = tokens_met(kept)
    kept.evaluate("x", adapter_of(kept), IDS)
    assert 0 < met[0] <= met[1]
    assert (met[0] == met[1]) == (most == 0)


def flipped(path):
    content = np.fromfile(path, np.uint8)
    content[::1000] ^= 1
    content.tofile(path)


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda path: os.truncate(path, 5000), lambda path: path.write_bytes(b"rubbish"), os.remove],
    ids=["flipped", "cut", "rubbish", "removed"],
)
def test_a_damaged_file_is_mended(damage, of_llama, tiny_models, tmp_path):
    kept = learner_of(tiny_models("llama"), tmp_path)
    everything(kept)
    for path in tmp_path.iterdir():
        damage(path)
    assert_same(everything(kept), of_llama)
    met = tokens_met(kept)
    kept.evaluate("x", adapter_of(kept), IDS)
    assert met[0] == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_a_full_disk_is_one_warning(of_llama, tiny_models, tmp_path, caplog):
    kept = learner_of(tiny_models("llama"), tmp_path)
    for use in ("training", "evaluation"):
        (tmp_path / f"{use}-1").symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING, "cllora"):
        assert_same(everything(kept), of_llama)
    (line,) = (record.getMessage() for record in caplog.records if "activations" in record.getMessage())
    assert "No space left" in line


def test_a_file_takes_at_most_half_of_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=400))
    file = ActivationFile(tmp_path / "x", np.array([100, 80, 20]), 10**9)
    assert file.has_room(np.array([2, 0, 1])).tolist() == [False, True, True]
    file.write({i: np.full(size, i + 1, np.uint8) for i, size in enumerate((100, 80, 20))})
    assert [None if part is None else part.tolist() for part in file.read(np.array([1, 2, 0]))] == [
        [2] * 80,
        None,
        [1] * 100,
    ]


def upper_study(model, texts, **changes):
    lora = {"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": 1}
    return Study.parse(study_fields(model, texts, **{"lora": lora, **changes}))


@pytest.mark.parametrize("engine", ["inline", TOGETHER], ids=["inline", "together"])
def test_a_study_is_the_same_with_and_without(engine, tiny_models, texts, tmp_path):
    """Interrupted and gone on with, cell by cell and cell beside cell; `test_engines.py` has several processes."""
    asked = {"engine": engine, "evaluation": {"attention": True, "surface": 3}, "federation__num_rounds": 2}
    plain = upper_study(tiny_models("llama"), texts, **asked, activations_gb=0)
    kept = upper_study(tiny_models("llama"), texts, **asked)
    folder = tmp_path / "kept"
    interrupted(kept, folder, round=1)
    assert list((folder / "activations").iterdir())
    found = numbers(cllora.run(kept, folder))
    assert not (folder / "activations").exists()
    assert found == numbers(cllora.run(plain, tmp_path / "plain"))
    assert not (tmp_path / "plain" / "activations").exists()
    assert cllora.run(plain, folder) == folder  # the same study


def test_another_base_under_the_same_name_finds_nothing_kept(tiny_models, texts, tmp_path):
    shutil.copytree(tiny_models("opt"), tmp_path / "base")
    study = upper_study(tmp_path / "base", texts, federation__num_rounds=2)
    interrupted(study, tmp_path / "out", round=1)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.model.decoder.layers[0].fc2.bias.data[3] += 1e-1
    model.save_pretrained(tmp_path / "base")
    (tmp_path / "out" / "pins.json").unlink()
    for cell in (path.parent for path in (tmp_path / "out").glob("*/spec.json")):
        shutil.rmtree(cell)
    mixed, fresh = (cllora.run(study, tmp_path / name) for name in ("out", "fresh"))
    assert numbers(mixed) == numbers(fresh)
