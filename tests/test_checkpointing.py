"""Two ways to spend less memory in training, gradient checkpointing and a head that works in pieces: same results."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cllora.errors import UsageError
from cllora.model import checkpointing
from cllora.model import learner as module
from cllora.model.batches import packed
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import pattern_of
from cllora.spec import Choice, Experiment, LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from support.samples import made_up_samples

CONTEXT = 40
LOCAL = LocalSpec(batch_size=4, learning_rate=5e-3)
S2 = pattern_of(Choice(name="s2", group=8), CONTEXT)


def learner_of(folder, lora=None, precision="float32", **model):
    spec = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device="cpu", **model)
    return Learner(load_base(spec, lora or LoraSpec(lora_dropout=0.3)), made_up_samples(), CONTEXT, S2)


def trained(learner):
    """Three clients of different sizes, from adapters of their own; the adapters they came to and their losses."""
    jobs = []
    for number, (start, stop) in enumerate(((0, 6), (6, 10), (10, 21))):
        draw = np.random.default_rng(number)
        at = learner.initial(0) + draw.normal(0, 0.05, learner.layout.size).astype(np.float32)
        jobs.append(Job(Work(at, gradient=True), np.arange(start, stop), ("x", number)))
    return [(it.adapter, it.gradient, it.loss) for it in learner.train(jobs, LOCAL, 0)]


def same(one, other):
    return all(np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("together", [0, 10**9])
@pytest.mark.parametrize("family", ["opt", "llama", "gpt2"])
def test_checkpointing_changes_no_bit(family, together, tiny_models, monkeypatch):
    """With dropout, in groups of tokens, alone and several clients in one pass, whose masks go by slots."""
    monkeypatch.setitem(module.TOGETHER, "cpu", together)
    plain, saving = (learner_of(tiny_models(family), checkpointing=on) for on in (False, True))
    found = trained(plain)
    assert same(found, trained(saving))
    assert np.array_equal(*(it.evaluate("x", found[0][0], np.arange(20)).nll for it in (plain, saving)))


@pytest.mark.parametrize(
    ("lora", "precision"),
    [
        (LoraSpec(lora_dropout=0.3), "bfloat16"),
        (LoraSpec(lora_dropout=0.3, train="lora+norms+embeddings"), "float32"),
        (LoraSpec(lora_dropout=0.3, train="lora+norms"), "bfloat16"),
        (LoraSpec(train="full"), "float32"),
    ],
)
def test_nor_with_other_parts_and_precisions(lora, precision, tiny_models):
    folder = tiny_models("llama")
    assert same(*(trained(learner_of(folder, lora, precision, checkpointing=on)) for on in (False, True)))


def test_layers_keep_their_input_alone_and_are_computed_twice_in_training_only(tiny_models):
    kept, passes = {}, {}
    for on in (False, True):
        learner = learner_of(tiny_models("llama"), checkpointing=on)
        calls = []
        layer = learner.base.model.get_base_model().model.layers[0]
        layer.mlp.gate_proj.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        adapter = learner.initial(0)
        learner.evaluate("x", adapter, np.arange(4))
        once = len(calls)
        row = next(packed(learner.samples, [np.arange(4)], CONTEXT, 10**6, learner.base.device, S2))
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            dropout = [torch.Generator().manual_seed(0)]
            learner.network.add_gradients(row, torch.tensor([float(len(row.owner))]), dropout)
        kept[on], passes[on] = sum(sizes), (once, len(calls) - once)
    assert passes == {False: (1, 1), True: (1, 2)}
    assert kept[True] < kept[False] / 3


def test_a_model_without_such_layers_is_refused(tiny_models, monkeypatch):
    monkeypatch.setattr(checkpointing, "GradientCheckpointingLayer", torch.nn.Bilinear)
    with pytest.raises(UsageError, match=r"model\.checkpointing"):
        learner_of(tiny_models("opt"), checkpointing=True)


def test_the_heads_pieces_change_nothing_but_rounding(tiny_models):
    """Loss and gradient, against those of all logits at once."""
    ids, everything = np.arange(12), None
    for piece in (None, 1, 7, 10**6):
        learner = learner_of(tiny_models("llama"), LoraSpec(lora_dropout=0), loss_piece=piece)
        row = next(packed(learner.samples, [ids], CONTEXT, 10**6, learner.base.device, S2))
        learner.adapters.write(np.random.default_rng(0).normal(0, 0.1, learner.layout.size))
        learner.adapters.gradients.zero_()
        loss = learner.network.add_gradients(row, torch.tensor([float(len(row.owner))]), [torch.Generator()])
        gradient = learner.adapters.gradients[0].clone()
        assert learner.network.piece == (piece or 512)
        if everything is None:
            learner.adapters.gradients.zero_()
            model = learner.base.model
            inputs = {"input_ids": row.tokens, "position_ids": row.positions, "packing": row.packing}
            logits = model(**inputs, use_cache=False).logits[0, row.keep]
            everything = F.cross_entropy(logits[: len(row.owner)], row.targets[: len(row.owner)])
            everything.backward()
            expected = learner.adapters.gradients[0].clone()
        torch.testing.assert_close(loss[0], everything.detach(), rtol=1e-5, atol=0)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_an_experiment_without_them_is_written_as_before():
    plain = Experiment.parse({"model": {"checkpointing": False, "loss_piece": None}})
    assert plain.id == Experiment().id
    assert not {"checkpointing", "loss_piece"} & plain.model_dump(mode="json")["model"].keys()
    saving = Experiment.parse({"model": {"checkpointing": True, "loss_piece": 64}})
    assert saving.id != plain.id
    assert Experiment.parse(saving.model_dump(mode="json")) == saving
    with pytest.raises(UsageError, match="loss_piece"):
        Experiment.parse({"model": {"loss_piece": 0}})
