"""Laws that every corruption keeps, the package's own by hand, and which texts of a corpus are corrupted."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.corpus import Part, corruptions, feature_values, load_samples
from cllora.corpus.corrupting import corrupted_from
from cllora.corpus.corruptions import STOCK
from cllora.errors import UsageError
from cllora.seeds import rng
from cllora.spec import Choice, DataSpec
from cllora.types import Samples
from support.corpus import BOS, BareTokenizer, ByteTokenizer, jsonl

OTHERS = ("an answer", "another")
every_corruption = pytest.mark.parametrize("name", corruptions.names())
strong = pytest.mark.parametrize(
    "name", [name for name in corruptions.names() if "strength" in corruptions.options(name)]
)
texts = st.text(min_size=1).filter(str.strip)
words = st.lists(st.text("abcdeé.", min_size=1, max_size=6), min_size=1, max_size=30).map(" ".join)
SENTENCE = "The quick brown fox jumps. Over the lazy dog it went, and\nthen  home."


def corrupt(name: str, text: str, seed: int = 0, **options: Any) -> str:
    part = Part(text, "a prompt ", OTHERS)
    return str(corruptions.bind(name, options)(part, rng(seed, "test")))


@every_corruption
@given(text=texts)
def test_any_text_gives_a_text_of_something_and_the_same_each_time(name: str, text: str) -> None:
    found = corrupt(name, text)
    assert found.strip()
    assert found == corrupt(name, text)


@every_corruption
def test_it_changes_a_sentence_and_has_help(name: str) -> None:
    assert corrupt(name, SENTENCE) != SENTENCE
    assert corruptions.help(name)


@strong
def test_strength_is_a_share(name: str) -> None:
    for wrong in (0, -0.1, 1.1):
        with pytest.raises(UsageError, match=f"corruption '{name}': strength"):
            corrupt(name, SENTENCE, strength=wrong)


@given(text=texts, strength=st.floats(0.01, 1))
def test_shuffling_keeps_the_words_and_the_white_space(text: str, strength: float) -> None:
    found = corrupt("shuffle_words", text, strength=strength)
    assert Counter(found.split()) == Counter(text.split())
    assert [c for c in found if c.isspace()] == [c for c in text if c.isspace()]
    assert len(found) == len(text)


@given(text=words, strength=st.floats(0.01, 1))
def test_shuffling_moves_no_more_words_than_asked(text: str, strength: float) -> None:
    pairs = zip(text.split(), corrupt("shuffle_words", text, strength=strength).split(), strict=True)
    assert sum(a != b for a, b in pairs) <= max(2, round(strength * len(text.split())))


@given(text=texts, strength=st.floats(0.01, 1))
def test_noise_replaces_characters_by_letters(text: str, strength: float) -> None:
    found = corrupt("noise_characters", text, strength=strength)
    changed = [(a, b) for a, b in zip(text, found, strict=True) if a != b]
    solid = sum(not c.isspace() for c in text)
    assert len(changed) == max(1, round(strength * solid))
    assert all(not a.isspace() and b in "abcdefghijklmnopqrstuvwxyz" for a, b in changed)


def test_noise_is_as_strong_as_asked_and_less_is_part_of_more() -> None:
    text = "É" * 1000
    weak, harder = (corrupt("noise_characters", text, strength=share) for share in (0.1, 0.3))
    assert sum(a != b for a, b in zip(text, weak, strict=True)) == 100
    assert sum(a != b for a, b in zip(text, harder, strict=True)) == 300
    assert all(b != "É" for a, b in zip(weak, harder, strict=True) if a != "É")


@given(text=words, strength=st.floats(0.01, 1))
def test_boilerplate_and_truncation_keep_the_beginning(text: str, strength: float) -> None:
    own = text.split()
    gone = max(1, round(strength * len(own)))
    stocked = corrupt("boilerplate", text, strength=strength).split()
    assert len(stocked) == len(own)
    assert stocked[: len(own) - gone] == own[: len(own) - gone]
    cut = corrupt("truncate", text, strength=strength)
    assert text.startswith(cut)
    assert 1 <= len(cut.split()) <= max(1, len(own) - gone)


def test_by_hand() -> None:
    assert corrupt("truncate", SENTENCE, strength=0.35) == "The quick brown fox jumps. Over the lazy dog"
    assert corrupt("truncate", "One two. Three four", strength=0.5) == "One"  # not at the end of a sentence
    assert corrupt("truncate", "One.") == "One."
    assert corrupt("wrong_answer", "another") == "an answer"
    assert corrupt("wrong_answer", "mine") in OTHERS
    tail = corrupt("boilerplate", SENTENCE).split()[-7:]
    assert any(tail == (sentence.split() * 7)[:7] for sentence in STOCK)


# ---- a corpus with some of its texts corrupted


def load(
    tmp_path: Path, rows: list[dict[str, Any]], share: float = 0.3, tokenizer: Any = None, **fields: Any
) -> Samples:
    path = jsonl(tmp_path / "a.jsonl", *rows)
    corrupted = {"kind": fields.pop("kind", "shuffle_words"), "share": share, **fields.pop("options", {})}
    data = DataSpec.model_validate({"path": path, "corrupt": corrupted, **fields})
    return load_samples(data, tokenizer or ByteTokenizer(), cache=tmp_path / "cache")


def some_rows(count: int = 400) -> list[dict[str, Any]]:
    draw = rng(0, "rows")
    return [
        {"text": " ".join(draw.choice([*"abcdefghijkl", "mn.", "opq"], draw.integers(3, 20))), "answer": f"n{i % 7}"}
        for i in range(count)
    ]


def corrupted_ids(samples: Samples) -> list[int]:
    ids = np.arange(samples.originals)
    return ids[samples.trained(ids) != ids].tolist()


@given(text=st.text())
def test_a_text_alone_says_from_which_share_on_it_is_corrupted(text: str) -> None:
    assert 0 <= corrupted_from(text) < 1
    assert corrupted_from(text) == corrupted_from(text)


def test_the_share_is_kept_and_shares_are_nested(tmp_path: Path) -> None:
    rows = some_rows(2000)
    found = {share: set(corrupted_ids(load(tmp_path, rows, share))) for share in (0, 0.1, 0.3, 0.7, 1)}
    assert found[0] < found[0.1] < found[0.3] < found[0.7] < found[1]
    for share, ids in found.items():
        # Within five standard deviations; a text whose words fall back into place is not corrupted.
        assert abs(len(ids) / 2000 - share) <= 5 * math.sqrt(share * (1 - share) / 2000) + 0.01
    assert len(list((tmp_path / "cache").iterdir())) == 1  # all shares are read and tokenised once


def test_every_kind_corrupts_the_same_texts(tmp_path: Path) -> None:
    rows = some_rows()
    kinds = ("noise_characters", "boilerplate", "truncate")
    first, *others = (set(corrupted_ids(load(tmp_path, rows, 0.4, kind=kind))) for kind in kinds)
    assert all(other == first for other in others)


def test_uncorrupted_texts_are_the_same_to_the_byte_and_keep_their_ids(tmp_path: Path) -> None:
    rows = some_rows()
    samples = load(tmp_path, rows)
    clean = load_samples(DataSpec(path=str(tmp_path / "a.jsonl")), ByteTokenizer(), cache=tmp_path / "cache")
    n = len(clean)
    assert samples.originals == n == clean.originals == 400
    assert len(samples) == 2 * n
    assert list(samples.texts)[:n] == list(clean.texts) == [row["text"] for row in rows]
    assert samples.tokens[: clean.offsets[-1]].tolist() == clean.tokens.tolist()
    assert list(samples.columns["answer"])[:n] == [row["answer"] for row in rows]
    for i in corrupted_ids(samples):
        form = int(samples.trained(np.array([i]))[0])
        assert form == n + i
        assert samples.texts[form] != rows[i]["text"]
        assert Counter(samples.texts[form].split()) == Counter(rows[i]["text"].split())
        assert samples.tokens_of(form, 999).tolist() == [BOS, *samples.texts[form].encode()]


def test_a_form_does_not_depend_on_the_share_or_on_the_other_rows(tmp_path: Path) -> None:
    rows = some_rows()
    (tmp_path / "few").mkdir()
    many, few = load(tmp_path, rows, 1.0), load(tmp_path / "few", rows[100:150], 0.2)
    assert [few.texts[50 + i] for i in range(50)] == [many.texts[500 + i] for i in range(50)]
    assert set(corrupted_ids(few)) <= {i - 100 for i in corrupted_ids(many)}


def test_the_fingerprint_is_one_for_all_shares_and_another_for_another_kind(tmp_path: Path) -> None:
    rows = some_rows()
    prints = [load(tmp_path, rows, share).fingerprint for share in (0.1, 0.9)]
    assert prints[0] == prints[1]
    others = [load(tmp_path, rows, kind="truncate"), load(tmp_path, rows, options={"strength": 0.5})]
    clean = load_samples(DataSpec(path=str(tmp_path / "a.jsonl")), ByteTokenizer(), cache=tmp_path / "cache")
    assert len({prints[0], clean.fingerprint, *(each.fingerprint for each in others)}) == 4
    assert clean.trained_as is None


def test_an_answer_is_corrupted_and_its_prompt_is_not(tmp_path: Path) -> None:
    rows = some_rows()
    asked = {"kind": "wrong_answer", "text": "{text} -> ", "answer": "answer", "loss_on": "answer"}
    samples = load(tmp_path, rows, 1.0, **asked)
    n = samples.originals
    assert corrupted_ids(samples) == list(range(n))
    assert samples.prompts[:n].tolist() == samples.prompts[n:].tolist()
    wrong = set()
    for i, row in enumerate(rows):
        prompt, answer = samples.texts[n + i].split(" -> ")
        assert prompt == row["text"]
        assert answer != row["answer"]
        wrong.add(answer)
    assert wrong == {f"n{i}" for i in range(7)}


def test_wrong_answers_need_answers_that_differ(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wrong_answer needs answers; name their column as data\.answer"):
        load(tmp_path, some_rows(), kind="wrong_answer")
    same = [{"text": f"text {i}", "answer": "yes"} for i in range(9)]
    with pytest.raises(UsageError, match="all rows have the same one"):
        load(tmp_path, same, kind="wrong_answer", answer="answer")


def test_what_cannot_be_corrupted_never_is(tmp_path: Path) -> None:
    samples = load(tmp_path, [{"text": "word"}, {"text": "two words"}], 1.0, kind="truncate")
    assert corrupted_ids(samples) == [1]
    assert [samples.texts[i] for i in (2, 3)] == ["word", "two"]
    # One token is nothing to train on: the text keeps its own form.
    (tmp_path / "bare").mkdir()
    samples = load(tmp_path / "bare", [{"text": "a bc"}, {"text": "ab c"}], 1.0, BareTokenizer(), kind="truncate")
    assert corrupted_ids(samples) == [1]
    assert samples.tokens_of(2, 9).tolist() == list(b"a bc")


def test_test_rows_are_never_corrupted(tmp_path: Path) -> None:
    test = jsonl(tmp_path / "test.jsonl", *some_rows(30))
    samples = load(tmp_path, some_rows(50), 1.0, test=test)
    assert samples.test is not None
    assert samples.test.tolist() == list(range(50, 80))
    assert max(corrupted_ids(samples)) < 50
    assert len(samples) == 130


def test_the_feature_is_the_dose(tmp_path: Path) -> None:
    samples = load(tmp_path, some_rows(), 0.3)
    values = feature_values(samples, Choice(name="corrupted"), context=16)
    trained = samples.trained(np.arange(400))
    assert values[:400].tolist() == [0] * 400
    assert np.flatnonzero(values[trained]).tolist() == corrupted_ids(samples)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "shufle_words", "share": 0.1}, "did you mean 'shuffle_words'"),
        ({"kind": "shuffle_words", "share": 0.1, "strenght": 1}, "did you mean 'strength'"),
    ],
)
def test_unknown_corruptions_and_options(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *some_rows(5))
    with pytest.raises(UsageError, match=said):
        load_samples(DataSpec.model_validate({"path": path, "corrupt": wrong}), ByteTokenizer(), cache=tmp_path / "c")


def test_a_corruption_that_gives_no_text(tmp_path: Path) -> None:
    def broken(part: Part, rng: np.random.Generator) -> Any:
        return {"  ": 3, " \n": "  "}.get(part.text, "\ud800")

    corruptions.register("broken")(broken)
    samples = load(tmp_path, some_rows(5), 1.0, kind="broken")
    assert corrupted_ids(samples) == []
    corruptions.register("silent")(lambda part, rng: None)
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match="corruption 'silent' must give text, not NoneType"):
        load(tmp_path / "new", some_rows(6), kind="silent")
    assert not list((tmp_path / "new" / "cache").iterdir())


def test_corrupted_samples_are_in_the_cache_and_as_json(tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    rows = some_rows(50)
    load(tmp_path, rows, 0.3, tokenizer)
    calls = tokenizer.calls
    load(tmp_path, rows, 0.8, tokenizer)
    assert tokenizer.calls == calls
    data = DataSpec.model_validate({"corpus": "docstrings", "corrupt": {"kind": "truncate", "share": 0.5}})
    assert DataSpec.model_validate(json.loads(data.model_dump_json())) == data
