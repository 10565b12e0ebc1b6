"""On a GPU the learner says what it says on the CPU. Skipped where there is none."""

import numpy as np
import pytest
import torch

from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.patterns import pattern_of
from cllora.spec import Choice, LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from support.models import FAMILIES
from support.samples import made_up_samples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CONTEXT = 40
LOCAL = LocalSpec(epochs=1, batch_size=7, learning_rate=2e-3)


def learner_of(folder, device, precision="float32", attention="full", **lora):
    spec = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device=device)
    pattern = pattern_of(Choice(name=attention), CONTEXT)
    return Learner(load_base(spec, LoraSpec(**{"lora_dropout": 0, **lora})), made_up_samples(), CONTEXT, pattern)


def jobs(learner, clients=2):
    return [Job(Work(learner.initial(0)), np.arange(k, 60, clients), ("client", k)) for k in range(clients)]


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_the_cpu(tiny_models, family):
    cpu, gpu = (learner_of(tiny_models(family), device) for device in ("cpu", "cuda"))
    adapter = np.random.default_rng(1).normal(0, 0.1, cpu.layout.size).astype(np.float32)
    ids = np.arange(60)
    both = [learner.evaluate("global", adapter, ids).nll for learner in (cpu, gpu)]
    np.testing.assert_allclose(both[1], both[0], rtol=2e-5)


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}, {"train": "lora+norms"}, {"train": "full"}])
@pytest.mark.parametrize("attention", ["full", "s2"])
def test_gradients_are_those_of_the_cpu(tiny_models, attention, lora):
    found = []
    ids = np.arange(30)
    for device in ("cpu", "cuda"):
        learner = learner_of(tiny_models("llama"), device, attention=attention, **lora)
        start = learner.initial(0)
        learner.adapters.write(start + np.float32(0.01))
        counts = np.array([learner.samples.predicted(ids, CONTEXT).sum()])
        learner.gradients([ids], counts, [torch.Generator(device)])
        found.append(learner.adapters.gradients[0].cpu().numpy())
    np.testing.assert_allclose(found[1], found[0], atol=2e-5, rtol=2e-4)


def test_clients_together_come_to_what_they_come_to_alone(tiny_models):
    learner = learner_of(tiny_models("opt"), "cuda")
    together = learner.train(jobs(learner, 4), LOCAL, 0)
    alone = [learner.train([job], LOCAL, 0)[0] for job in jobs(learner, 4)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.adapter, other.adapter, atol=2e-4)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


def test_the_same_run_gives_the_same_numbers(tiny_models):
    learner = learner_of(tiny_models("opt"), "cuda", lora_dropout=0.1)
    one, other = (learner.train(jobs(learner), LOCAL, 0) for _ in range(2))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.adapter, second.adapter)


def test_bfloat16_is_near_float32(tiny_models):
    narrow, wide = (learner_of(tiny_models("opt"), "cuda", precision) for precision in ("bfloat16", "float32"))
    ids = np.arange(60)
    per_token = [
        it.evaluate("g", it.initial(0), ids).nll.sum() / it.samples.predicted(ids, CONTEXT).sum()
        for it in (narrow, wide)
    ]
    assert per_token[0] == pytest.approx(per_token[1], abs=0.02)


def test_a_whole_study_runs_and_resumes(tiny_models, texts, tmp_path):
    import cllora
    from cllora.spec import Study
    from cllora.store import read_rounds
    from support.studies import interrupted, study_fields

    study = Study.parse(study_fields(tiny_models("opt"), texts, model__device="cuda", grid={}, control={}))
    interrupted(study, tmp_path / "out", round=1)
    folders = [cllora.run(study, tmp_path / name) / "seed=0" for name in ("out", "whole")]
    losses = [[record["global_loss"] for record in read_rounds(folder)] for folder in folders]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
