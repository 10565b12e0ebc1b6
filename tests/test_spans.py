"""Samples in which several stretches carry loss, as the assistant's turns do: all who read them agree with labels."""

import dataclasses

import numpy as np
import pytest
import torch

from cllora.corpus import feature_values
from cllora.corpus.feature import BaseLosses
from cllora.model import attention
from cllora.model.batches import packed
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.spec import Choice, LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Samples, Work
from support.samples import made_up_samples

CONTEXT = 40


def several(count=40):
    """Samples with none to four stretches each, some touching, one from the first token, some beyond the context."""
    draw, samples = np.random.default_rng(3), made_up_samples(count)
    each = []
    for i, length in enumerate(samples.lengths()):
        cuts = np.sort(draw.choice(length + 1, min(2 * draw.integers(0, 5), (length + 1) // 2 * 2), replace=False))
        spans = cuts.reshape(-1, 2).tolist()
        each.append([[0, 1], [1, int(length)]] if i == 0 else spans)
    flat = np.array([span for spans in each for span in spans], np.int32)
    offsets = np.cumsum([0, *map(len, each)])
    prompts = np.array([spans[0][0] if spans else 0 for spans in each], np.int32)
    return dataclasses.replace(samples, spans=flat, span_offsets=offsets, prompts=prompts), each


def targets(samples, each, sample, context):
    """The places of the tokens that are predicted, one by one."""
    length = len(samples.tokens_of(sample, context))
    return [p for p in range(1, length) if any(start <= p < stop for start, stop in each[sample])]


@pytest.fixture(scope="module")
def learner(tiny_models):
    spec = ModelSpec(name=str(tiny_models("llama")), context=CONTEXT, device="cpu", precision="float32")
    return Learner(
        load_base(spec, LoraSpec(lora_dropout=0.0, target_modules=("q_proj", "v_proj"))), several()[0], CONTEXT
    )


@pytest.mark.parametrize("context", [2, 17, 1000])
def test_what_is_predicted_is_what_is_packed(context):
    samples, each = several()
    ids = np.random.default_rng(0).permutation(len(samples))
    expected = [targets(samples, each, int(i), context) for i in ids]
    assert samples.predicted(ids, context).tolist() == [len(places) for places in expected]
    for row in packed(samples, [ids], context, 200, torch.device("cpu")):
        begins = np.cumsum([0, *(len(samples.tokens_of(int(i), context)) for i in ids[row.places])])
        wanted = [begins[n] + p - 1 for n, place in enumerate(row.places) for p in expected[place]]
        assert row.keep.tolist()[: len(row.owner)] == wanted


def test_losses_and_training_are_of_the_labels(learner):
    """Against stock transformers with labels of -100 elsewhere, one text at a time."""
    samples, each = several()
    ids = np.flatnonzero(samples.predicted(np.arange(len(samples)), CONTEXT) > 0)
    start = learner.initial(0)
    found = learner.evaluate("global", start, ids)
    model = learner.base.model
    model.set_attn_implementation("eager")
    for n, i in enumerate(ids):
        text = torch.from_numpy(samples.tokens_of(int(i), CONTEXT))[None]
        labels = torch.full_like(text, -100)
        places = targets(samples, each, int(i), CONTEXT)
        labels[0, places] = text[0, places]
        with torch.no_grad():
            loss = model(input_ids=text, labels=labels, use_cache=False).loss.item()
        assert found.tokens[n] == len(places)
        assert found.nll[n] == pytest.approx(loss * len(places), rel=1e-5)
    model.set_attn_implementation(attention.NAME)
    trained = learner.train([Job(Work(start), ids, ("train",))], LocalSpec(batch_size=8), 0)[0]
    assert trained.tokens == found.tokens.sum()


def test_a_prefix_leaves_the_stretches_after_it():
    """prefix-IFD of a chat is of the assistant's tokens alone; a token's loss is (1 + it) / its place."""

    def losses(samples, ids):
        place, starts, stops = samples.answered(ids, 99)
        total = np.zeros(len(ids))
        for i, start, stop in zip(place, starts, stops, strict=True):
            tokens = samples.tokens_of(int(ids[i]), 99)
            total[i] += sum((1 + tokens[t]) / t for t in range(start, stop))
        return total

    spans, offsets = np.array([[3, 4], [6, 8]], np.int32), np.array([0, 2])
    samples = Samples(
        [""], np.arange(8), np.array([0, 8]), np.array([3], np.int32), {}, "", spans=spans, span_offsets=offsets
    )
    told, alone = 4 / 3 + 7 / 6 + 8 / 7, 4 / 1 + 7 / 4 + 8 / 5
    base = BaseLosses("made up", losses)
    assert feature_values(samples, Choice(name="prefix_ifd"), 99, base)[0] == pytest.approx(told / alone)
    assert feature_values(samples, Choice(name="perplexity"), 99, base)[0] == pytest.approx(told / 3)
