"""Several clients in one pass over the base, against one by one."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cllora.model import learner as module
from cllora.model.batches import packed, rounded
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from support.samples import made_up_samples

CONTEXT = 40
SIZES = (3, 14, 8, 1, 22)


def learner_of(folder, dropout=0.0, precision="float32"):
    model = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device="cpu")
    targets = ("q_proj", "v_proj") if "gpt" not in str(folder) else None
    return Learner(load_base(model, LoraSpec(lora_dropout=dropout, target_modules=targets)), made_up_samples(), CONTEXT)


def jobs_of(learner, **work):
    """Jobs of unequal sizes, each from an adapter of its own."""
    ends = np.cumsum(SIZES)
    draw = np.random.default_rng(0)
    return [
        Job(
            Work(draw.normal(0, 0.1, learner.layout.size).astype(np.float32), **work), np.arange(end - n, end), ("x", n)
        )
        for n, end in zip(SIZES, ends, strict=True)
    ]


def both(learner, jobs, local, monkeypatch):
    """Trained together, and one by one."""
    monkeypatch.setitem(module.TOGETHER, "cpu", 10**9)
    assert [len(group) for group in learner.groups(jobs, local)] == [len(jobs)]
    together = learner.train(jobs, local, 0)
    monkeypatch.setitem(module.TOGETHER, "cpu", 0)
    assert [len(group) for group in learner.groups(jobs, local)] == [1] * len(jobs)
    return together, learner.train(jobs, local, 0)


@pytest.mark.parametrize("family", ["opt", "opt-350m", "llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("block", [30, 1024])
def test_together_is_one_by_one(family, block, tiny_models, monkeypatch):
    """Different starts, numbers of steps and batch sizes, dropout on, batches in one block or in several."""
    monkeypatch.setitem(module.TRAINING_BLOCK, "cpu", block)
    learner = learner_of(tiny_models(family), dropout=0.2)
    jobs = jobs_of(learner, gradient=True)
    # SGD: AdamW turns the rounding of gradients that ought to be zero into whole steps.
    local = LocalSpec(epochs=2, batch_size=5, optim="sgd", learning_rate=0.05)
    together, alone = both(learner, jobs, local, monkeypatch)
    for job, one, other in zip(jobs, together, alone, strict=True):
        assert (one.samples, one.tokens, one.steps) == (other.samples, other.tokens, other.steps)
        assert one.samples == len(job.ids)
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        np.testing.assert_allclose(one.adapter, other.adapter, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-3, atol=1e-5)
        assert np.abs(one.adapter - job.work.start).max() > 1e-3


def test_adamw_clipping_pull_and_mask_stay_each_clients_own(tiny_models, monkeypatch):
    learner = learner_of(tiny_models("opt"))
    draw = np.random.default_rng(5)
    jobs = []
    for number, job in enumerate(jobs_of(learner)):
        center = draw.normal(0, 0.1, learner.layout.size).astype(np.float32)
        trainable = np.arange(learner.layout.size) % (number + 2) > 0
        jobs.append(dataclasses.replace(job, work=Work(job.work.start, center, 0.3 * number, center / 2, trainable)))
    local = LocalSpec(epochs=2, batch_size=5, learning_rate=1e-3, max_grad_norm=0.05, weight_decay=0.1)
    together, alone = both(learner, jobs, local, monkeypatch)
    for job, one, other in zip(jobs, together, alone, strict=True):
        np.testing.assert_allclose(one.adapter, other.adapter, rtol=1e-4, atol=1e-5)
        assert np.array_equal(one.adapter[~job.work.trainable], job.work.start[~job.work.trainable])


def test_one_that_diverges_leaves_the_others_as_they_are_alone(tiny_models, monkeypatch):
    learner = learner_of(tiny_models("opt"))
    jobs = jobs_of(learner)
    jobs[2] = Job(Work(np.full_like(jobs[2].work.start, np.nan)), jobs[2].ids, jobs[2].name)
    together, alone = both(learner, jobs, LocalSpec(epochs=1, batch_size=5, learning_rate=1e-3), monkeypatch)
    assert [bool(np.isfinite(one.loss)) for one in together] == [True, True, False, True, True]
    for i in (0, 1, 3, 4):
        assert np.array_equal(together[i].adapter, alone[i].adapter)


def test_bfloat16_together_is_as_near_to_float32_as_one_by_one(tiny_models, monkeypatch):
    local = LocalSpec(epochs=1, batch_size=5, optim="sgd", learning_rate=0.05)
    exact, rough = (learner_of(tiny_models("opt"), precision=p) for p in ("float32", "bfloat16"))
    _, truth = both(exact, jobs_of(exact), local, monkeypatch)
    together, alone = both(rough, jobs_of(rough), local, monkeypatch)

    def error(found):
        moves = [(one.adapter - it.adapter, it.adapter - job.work.start) for one, it, job in found]
        return np.linalg.norm(np.concatenate([a for a, _ in moves])) / np.linalg.norm(
            np.concatenate([b for _, b in moves])
        )

    errors = [error(zip(found, truth, jobs_of(exact), strict=True)) for found in (together, alone)]
    assert errors[0] < max(1.5 * errors[1], 0.02)


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    budget=st.integers(1, 300),
)
def test_every_batch_is_cut_as_if_alone(sizes, budget):
    """Its blocks are the same in company, each token is there once, and `sizes` and `batch` say whose it is."""
    samples = made_up_samples(80)
    ends = np.cumsum(sizes)
    batches = [np.arange(end - n, end) for n, end in zip(sizes, ends, strict=True)]
    device = torch.device("cpu")
    found = [[] for _ in batches]
    for row in packed(samples, batches, CONTEXT, budget, device):
        real = sum(row.sizes)
        for slot, part in enumerate(row.tokens[0, :real].split(row.sizes)):
            found[slot] += [part.tolist()] if len(part) else []
        owner, predicted = np.repeat(np.arange(len(batches)), row.sizes), len(row.owner)
        assert row.batch.tolist()[:predicted] == owner[row.keep.numpy()[:predicted]].tolist()
        assert set(row.batch.tolist()[predicted:]) <= {-1}
    for batch, blocks in zip(batches, found, strict=True):
        alone = packed(samples, [batch], CONTEXT, budget, device)
        assert blocks == [row.tokens[0, : row.sizes[0]].tolist() for row in alone]


def test_hardly_anything_but_real_tokens_is_processed():
    """Filler stays below 2 %, and what attention gathers in vain below a half."""
    samples = made_up_samples(2000, longest=128, seed=3)
    ids, device = np.arange(2000), torch.device("cpu")
    real = samples.seen(ids, 128).sum()
    evaluation = list(packed(samples, [ids], 128, 4096, device))
    training = [row for batch in np.split(ids, 250) for row in packed(samples, [batch], 128, 1024, device)]
    for rows in (evaluation, training):
        assert sum(sum(row.sizes) for row in rows) == real
        assert sum(row.tokens.numel() for row in rows) < 1.02 * real
        assert sum(len(row.packing.rows) for row in rows) < 1.5 * real
        assert len({shape for row in rows for shape in row.packing.shapes}) <= 5 * 8
    assert len({row.tokens.numel() for row in training}) < 60


@pytest.mark.parametrize("count", [1, 2, 63, 64, 100, 1000, 1024, 4000, 10**6])
def test_filler_is_little(count):
    assert count <= rounded(count) <= count + max(1, count // 32)
    assert rounded(rounded(count)) == rounded(count)


def test_logits_are_never_all_there_at_once(tiny_models, monkeypatch):
    """A piece of 7 tokens at a time gives what one piece gives."""
    from cllora.model import network

    learner = learner_of(tiny_models("llama"))
    jobs, local = jobs_of(learner), LocalSpec(epochs=1, batch_size=5, optim="sgd", learning_rate=0.05)
    whole = learner.train(jobs, local, 0), learner.evaluate("g", jobs[0].work.start, np.arange(30))
    monkeypatch.setitem(network.LOGITS, "cpu", 7 * 300)
    learner = learner_of(tiny_models("llama"))
    seen = set()
    head = learner.base.model.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda module, given, logits: seen.add(len(logits)))
    pieces = learner.train(jobs, local, 0), learner.evaluate("g", jobs[0].work.start, np.arange(30))
    assert max(seen) == 7
    np.testing.assert_allclose(pieces[1].nll, whole[1].nll, rtol=1e-6)
    for one, other in zip(pieces[0], whole[0], strict=True):
        np.testing.assert_allclose(one.adapter, other.adapter, rtol=1e-5, atol=1e-7)


def test_no_samples_no_losses(tiny_models):
    learner = learner_of(tiny_models("opt"))
    assert len(learner.evaluate("g", learner.initial(0), np.zeros(0, np.int64)).nll) == 0


def test_after_a_pass_the_base_is_as_it_was(tiny_models):
    """No dropout and no other client's adapter stays behind for whoever calls the model itself."""
    learner = learner_of(tiny_models("opt"), dropout=0.5)
    learner.train(jobs_of(learner), LocalSpec(epochs=1, batch_size=5), 0)
    text = torch.arange(4, 14)[None]
    first, second = (learner.base.model(input_ids=text).logits for _ in range(2))
    assert torch.equal(first, second)


def test_a_text_of_one_token_beside_others_changes_nothing(tiny_models):
    """A batch in which nothing is predicted has a loss and a gradient of zero, and corrupts no other."""
    learner = learner_of(tiny_models("opt"))
    for slot in range(2):
        learner.adapters.write(jobs_of(learner)[slot].work.start, slot)
    counts = np.array([0, 9])
    learner.samples.offsets[1] = learner.samples.offsets[0] + 1
    losses = learner.gradients([np.array([0]), np.array([5])], counts, [None, None])
    assert losses[0] == 0
    assert torch.isfinite(losses).all()
    assert not learner.adapters.gradients[0].any()
    assert learner.adapters.gradients[1].any()


def test_nothing_makes_a_gpu_wait_inside_a_step(tiny_models):
    """No tensor's value is looked at by the host between the first and the last operation of a step."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Looks(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    for family in ("opt", "llama", "gpt_neox", "qwen3"):
        learner = learner_of(tiny_models(family), dropout=0.1)
        with Looks() as looks:
            learner.gradients([np.arange(5), np.arange(9)], np.array([50, 90]), [torch.Generator(), torch.Generator()])
        assert looks.count == 0, family
