"""The features beyond length: worked examples, and laws of each."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.corpus import feature_values
from cllora.corpus.heuristics import RULES, STOP_WORDS, grade
from cllora.corpus.lexical import words_of
from cllora.corpus.topic import cluster
from cllora.errors import UsageError
from cllora.spec import Choice
from cllora.types import Samples
from support.features import BASE, made_up, samples_of

few_words = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40)
THRESHOLD = 0.72


def value(name: str, text: str, **options: object) -> float:
    choice = Choice.model_validate({"name": name, **options})
    return float(feature_values(samples_of([text]), choice, 64, BASE)[0])


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words_of("Don't (ever) call f_2(x), Élan!") == ["don't", "ever", "call", "f_2", "x", "élan"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("a", 1.0),
        ("a a", 2.0),
        ("a a a a", 2.0),  # a factor every two words
        ("a a a", 3.0),  # one factor, and a last word with all types different: 3 / 1
        ("a b c d", 4 * 5 * 0.28),  # no repetition: as if the fifth word were one
        # Types over tokens: 1, 1, 0.67, a factor, and 1 for the last word. Backward 1, 1, 1, 0.75.
        ("a b a c", (4 + 4 * 0.28 / 0.25) / 2),
    ],
)
def test_mtld_by_hand(text: str, expected: float) -> None:
    assert value("mtld", text) == pytest.approx(expected)


def test_mtld_of_a_long_text_is_about_the_words_in_a_factor() -> None:
    words = [f"w{i % 50}" for i in range(5000)]
    # Types over tokens reach 0.72 at the 70th word (50 / 70 = 0.714).
    assert value("mtld", " ".join(words)) == pytest.approx(70, rel=0.02)
    assert value("mtld", " ".join(words), threshold=0.5) == pytest.approx(100, rel=0.02)


@given(words=few_words)
def test_mtld_has_no_direction(words: list[str]) -> None:
    assert value("mtld", " ".join(words)) == value("mtld", " ".join(reversed(words)))


@given(words=few_words)
def test_mtld_of_one_word_repeated_is_lowest_and_of_different_words_highest(words: list[str]) -> None:
    same = value("mtld", " ".join("a" for _ in words))
    different = value("mtld", " ".join(f"w{i}" for i in range(len(words))))
    assert same - 1e-9 <= value("mtld", " ".join(words)) <= different + 1e-9


def test_compression_by_hand() -> None:
    assert value("compression", "") == 1.0
    assert value("compression", "x") == 1.0  # nothing to refer back to, and no header that would count
    text = "the cat sat on the mat and the cat sat on the mat"
    # zlib adds a header of two bytes and a checksum of four.
    assert value("compression", text) == pytest.approx((len(zlib.compress(text.encode(), 9)) - 6 - 2) / len(text))


@given(text=st.text(min_size=1, max_size=60))
def test_compression_of_a_repeated_text_is_lower(text: str) -> None:
    assert 0 < value("compression", text * 20) < value("compression", text) or len(text.encode()) == 1


@given(text=st.text(max_size=200))
def test_deflate_never_makes_much_more_of_a_text(text: str) -> None:
    size = len(text.encode())
    assert value("compression", text) * max(1, size) <= size + 5  # a stored block has five bytes more


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("a b c d", 3, 0.0),
        ("a b c a b c", 3, 3 / 6),
        ("a b c a b c a b c", 3, 6 / 9),
        ("aa b c d aa b c", 3, 4 / 9),  # by characters
        ("a a a a", 1, 3 / 4),
        ("a b a b a", 2, 2 / 5),  # the second run is passed over whole, one word is left
        ("", 3, 0.0),
    ],
)
def test_repetition_by_hand(text: str, n: int, expected: float) -> None:
    assert value("repetition", text, n=n) == pytest.approx(expected)


@given(words=few_words, n=st.integers(1, 5))
def test_repetition_is_a_share_and_grows_when_a_text_repeats_itself(words: list[str], n: int) -> None:
    text = " ".join(words)
    once, often = value("repetition", text, n=n), value("repetition", f"{text} {text} {text} " * 5, n=n)
    assert 0 <= once < 1
    assert once < often < 1
    assert value("repetition", " ".join(f"w{i}" for i in range(len(words))), n=n) == 0


PROSE = "The owners of the house have to be careful, and that comes with some work of their own."


def test_heuristics_by_hand() -> None:
    words = words_of(PROSE)
    grades = {rule.__name__: rule(PROSE, words) for rule in RULES}
    mean = sum(map(len, words)) / 18
    assert grades.pop("word_length") == pytest.approx((mean - 1) / 4)
    assert grades.pop("letters") == pytest.approx((68 / 70 - 0.6) / 0.4)
    assert set(grades.values()) == {1.0}
    assert value("heuristics", PROSE) == pytest.approx((6 + (mean - 1) / 4 + (68 / 70 - 0.6) / 0.4) / 8)
    assert value("heuristics", "") == value("heuristics", "...") == 0


@pytest.mark.parametrize(
    "corrupted",
    [
        PROSE.rstrip("."),
        PROSE.replace("careful", "{careful}"),
        PROSE.replace(" ", " 7 "),
        PROSE.replace(" ", " # "),
        " ".join([PROSE] * 4),
        " ".join("x" * len(word) if word.lower() in STOP_WORDS else word for word in PROSE.split()),
        PROSE.replace(" ", ""),
    ],
)
def test_what_a_rule_is_about_lowers_the_score(corrupted: str) -> None:
    assert value("heuristics", corrupted) < value("heuristics", PROSE)


@given(text=st.text())
def test_heuristics_are_a_share(text: str) -> None:
    assert 0 <= value("heuristics", text) <= 1


def test_a_grade_is_half_in_the_middle() -> None:
    assert [grade(x, 0.6, 1) for x in (0, 0.6, 0.8, 1, 2)] == [0, 0, pytest.approx(0.5), 1, 1]
    assert [grade(x, 0.2, 0) for x in (1, 0.1, 0)] == [0, pytest.approx(0.5), 1]


SUBJECTS = (
    "array shape axis index column value",
    "server request header socket port client",
    "leaf root tree branch bark",
)


def texts_about(subjects: tuple[str, ...], sizes: tuple[int, ...], seed: int = 0) -> tuple[list[str], list[int]]:
    draw = np.random.default_rng(seed)
    about = [i for i, size in enumerate(sizes) for _ in range(size)]
    texts = [
        " ".join([*draw.choice(subjects[i].split(), 8), *draw.choice(["the", "of", "and", "to"], 5)]) for i in about
    ]
    order = draw.permutation(len(texts))
    return [texts[i] for i in order], [about[i] for i in order]


def test_topics_are_what_texts_are_about_the_largest_first(caplog: pytest.LogCaptureFixture) -> None:
    texts, about = texts_about(SUBJECTS, (30, 80, 50))
    with caplog.at_level("INFO", "cllora"):
        found = cluster(texts, 3)
    assert found.tolist() == [{0: 2, 1: 0, 2: 1}[i] for i in about]
    assert caplog.messages[0].startswith("topic 0, 80 texts: ")
    assert set(SUBJECTS[1].split()) >= set(caplog.messages[0].split(": ")[1].split(", "))
    assert cluster(texts, 1).tolist() == [0] * len(texts)


def test_topics_are_found_by_the_originals_alone() -> None:
    texts, _ = texts_about(SUBJECTS[:2], (30, 40))
    noise, _ = texts_about(SUBJECTS[2:], (200,))
    assert cluster([*texts, *noise], 2, len(texts))[: len(texts)].tolist() == cluster(texts, 2).tolist()


@given(written=st.lists(st.text(), min_size=1, max_size=8), topics=st.integers(1, 6))
def test_topics_are_numbered_from_zero_without_gaps(written: list[str], topics: int) -> None:
    found = set(cluster(written, topics).tolist())
    assert found <= set(range(topics))
    assert 0 in found or not found


def test_perplexity_is_nats_per_predicted_token() -> None:
    samples = samples_of(["ab", "abcdefgh"])
    found = feature_values(samples, Choice(name="perplexity"), 8, BASE)
    assert found[0] == pytest.approx((98 / 1 + 99 / 2) / 2)
    assert found[1] == pytest.approx(made_up(samples, np.array([1]))[0] / 7)  # the context cuts it


def test_prefix_ifd_by_hand() -> None:
    """Tokens are a start, then bytes; a token's loss is (1 + it) / its place."""
    samples = samples_of(["abcdef", "ab", "a"])
    found = feature_values(samples, Choice.model_validate({"name": "prefix_ifd", "prefix": 3}), 8, BASE)
    told = 100 / 3 + 101 / 4 + 102 / 5 + 103 / 6  # c to f, the start and a, b before them
    alone = 100 / 1 + 101 / 2 + 102 / 3 + 103 / 4  # the start alone
    assert found[0] == pytest.approx(told / alone)
    assert found[1:].tolist() == [1, 1]  # half of three tokens is the start alone, and so is half of two


def test_prefix_ifd_takes_the_prompt_where_there_is_one() -> None:
    samples = samples_of(["abcdef"])
    asked = Samples(samples.texts, samples.tokens, samples.offsets, np.array([5], np.int32), {}, "")
    told, alone = 102 / 5 + 103 / 6, 102 / 1 + 103 / 2
    assert feature_values(asked, Choice(name="prefix_ifd"), 8, BASE)[0] == pytest.approx(told / alone)


@pytest.mark.parametrize("name", ["perplexity", "prefix_ifd"])
def test_without_a_model_such_features_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="here is no model"):
        feature_values(samples_of(["some text"]), Choice(name=name), 8)


def test_another_base_is_another_value() -> None:
    samples = samples_of(["some text", "and another"])
    double = type(BASE)("double", lambda some, ids: 2 * made_up(some, ids))
    once, twice = (feature_values(samples, Choice(name="perplexity"), 8, base) for base in (BASE, double))
    assert np.allclose(2 * once, twice)
