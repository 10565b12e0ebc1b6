"""Passkey retrieval: the texts, whether reading the key at once is greedy decoding, and who finds it."""

import re

import numpy as np
import pytest
import torch

from cllora.errors import UsageError
from cllora.model import attention
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.tokenizer import ModelTokenizer
from cllora.probes import passkey
from cllora.probes.passkey import DEPTHS, FILLER, counts, lengths, text, texts
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Losses, Samples, Work
from support.learning import CONTEXT, learner_of, random_adapter
from support.models import FAMILIES, stock_tokenizer
from support.probes import moment
from support.samples import made_up_samples

NEEDLE = " The pass key is 01234. Remember it. 01234 is the pass key."
QUESTION = " What is the pass key? The pass key is"


@pytest.fixture(scope="module")
def embedded():
    return ModelTokenizer("embedded")


def decoded(name, tokens):
    return stock_tokenizer(name).decode(tokens, clean_up_tokenization_spaces=False)


def test_lengths_halve_from_the_context_while_there_is_room():
    assert lengths(256) == [256]
    assert lengths(600) == [300, 600]
    assert lengths(4096) == [256, 512, 1024, 2048, 4096]
    assert lengths(32768) == [2048, 4096, 8192, 16384, 32768]


@pytest.mark.parametrize("which", ["embedded", "tiny"])
@pytest.mark.parametrize("length", [256, 257, 700])
def test_a_text_has_its_length_and_the_key_its_depth(embedded, tiny_models, which, length):
    name = which if which == "embedded" else str(tiny_models("opt"))
    tokenizer = embedded if which == "embedded" else ModelTokenizer(name)
    for depth in DEPTHS:
        prompt, answer = text(tokenizer, length, depth, "01234")
        assert len(prompt) + len(answer) == length
        said = decoded(name, prompt)
        assert said.count(NEEDLE) == 1
        assert said.endswith(QUESTION)
        assert decoded(name, answer) == " 01234"
        before, after = said.removesuffix(QUESTION).removeprefix("</s>").split(NEEDLE)
        begun, *sentences = re.findall(r"[^.]*\.", before + after)
        assert sentences == [FILLER[i % len(FILLER)] for i in range(-len(sentences), 0)]
        assert any(sentence.endswith(begun) for sentence in FILLER)
        longest = max(map(len, FILLER))
        assert abs(len(before) - depth * len(before + after)) <= longest, "as near as whole sentences allow"
        # The text is read as it would be if it were in a corpus.
        assert tokenizer.encode([said.removeprefix("</s>") + " 01234"])[0][-90:] == (prompt + answer)[-90:]


def test_keys_are_drawn_once_for_all_contexts_and_make_up_the_prompt(embedded):
    few, many = texts(embedded, [256], 3, seed=1), texts(embedded, [256, 512], 3, seed=1)
    assert len(few) == 15
    assert np.array_equal(few.tokens, many.tokens[: len(few.tokens)])
    assert many.lengths().tolist() == [256] * 15 + [512] * 15
    keys = [decoded("embedded", many.tokens_of(i, 512)[many.prompts[i] :].tolist()) for i in range(30)]
    assert all(re.fullmatch(r" \d{5}", key) for key in keys)
    assert len(set(keys)) > 25
    for i, key in enumerate(keys):
        assert decoded("embedded", many.tokens_of(i, 512).tolist()).count(key) == 3
    assert not np.array_equal(few.tokens, texts(embedded, [256], 3, seed=2).tokens)


def test_no_room_is_refused(embedded):
    with pytest.raises(UsageError, match="64 tokens have no room for a key"):
        text(embedded, 64, 0.5, "01234")


def test_one_who_looks_back_a_little_finds_what_stands_near_the_end(embedded):
    """A reader who copies the key, if it stands in the last 300 tokens: the map shows how far it sees."""
    many = texts(embedded, [256, 1024], 2, seed=0)
    said = np.array(
        ["pass key is " in decoded("embedded", many.tokens_of(i, 1024)[-300:-30].tolist()) for i in range(len(many))]
    )
    answers = many.predicted(np.arange(len(many)), 1024)
    losses = Losses("reader", np.arange(len(many)), np.where(said, 0.5, 2.0) * answers, answers)
    found, nats = counts(said, losses, 2)
    assert found.tolist() == [2, 2, 2, 2, 2, 0, 0, 0, 2, 2]
    assert nats.tolist() == [0.5] * 5 + [2.0, 2.0, 2.0, 0.5, 0.5]


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_at_once_is_greedy_decoding(family, tiny_models):
    """What transformers generates is said; with any one of its tokens changed it is not."""
    learner = learner_of(tiny_models(family), made_up_samples(6, 30))
    adapter = random_adapter(learner)
    learner.adapters.write(adapter)
    learner.base.model.set_attn_implementation("eager")
    wholes, prompts = [], []
    for i in range(6):
        prompt = torch.from_numpy(learner.samples.tokens_of(i, CONTEXT))[None]
        whole = learner.base.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=4,
            max_new_tokens=4,
        )[0].numpy()
        for place in (None, -1, -3):
            changed = whole.copy()
            if place is not None:
                changed[place] = changed[place] % 200 + 4
            wholes.append(changed)
            prompts.append(prompt.shape[1])
    learner.base.model.set_attn_implementation(attention.NAME)
    offsets = np.cumsum([0, *map(len, wholes)])
    samples = Samples([""] * 18, np.concatenate(wholes), offsets, np.array(prompts, np.int32), {}, "generated")
    said, losses = learner.over(samples).recall(adapter, np.arange(18))
    assert said.tolist() == [True, False, False] * 6
    assert losses.tokens.tolist() == [4] * 18
    expected = learner.over(samples).evaluate("g", adapter, np.arange(18))
    np.testing.assert_allclose(losses.nll, expected.nll, rtol=1e-6)


def test_a_model_that_has_learned_the_keys_says_them_and_the_untrained_one_none(tiny_models, monkeypatch):
    monkeypatch.setattr(passkey, "DEPTHS", (0.0, 1.0))
    model = ModelSpec(
        name=str(tiny_models("llama")), context=256, positions="linear", precision="float32", device="cpu"
    )
    learner = Learner(load_base(model, LoraSpec(train="full")), made_up_samples(), 256)
    known = texts(ModelTokenizer(model.name), [256], 1, seed=0)
    local = LocalSpec(steps=40, batch_size=2, learning_rate=1e-2)
    trained = learner.over(known).train([Job(Work(learner.initial(0)), np.arange(2), ("x",))], local, 0)[0]
    found = passkey.passkey(learner, moment(learner, trained.adapter, np.arange(2)), keys=1)
    assert found[["length", "depth"]].to_numpy().tolist() == [[256, 0], [256, 1]]
    assert found[["found_before", "found_after"]].to_numpy().tolist() == [[0, 1], [0, 1]]
    assert found["nats_after"].max() < 0.5 < found["nats_before"].min()
