"""Laws that every registered feature keeps, the package's own by hand, and what a wrong one is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.corpus import TextRows, feature_values, features, load_samples
from cllora.errors import UsageError
from cllora.spec import Choice, DataSpec
from cllora.types import Samples
from support.corpus import ByteTokenizer, jsonl
from support.features import BASE, samples_of

TEXTS = ["one two", "three", " vier  fünf\nsechs "]
every_feature = pytest.mark.parametrize("name", features.names())
texts = st.lists(st.text(), min_size=1, max_size=8)


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    path = jsonl(tmp_path / "a.jsonl", *({"text": text} for text in TEXTS))
    return load_samples(DataSpec(path=path), ByteTokenizer(), cache=tmp_path / "cache")


def values(name: str, samples: Samples, part: slice = slice(None), context: int = 8) -> np.ndarray[Any, Any]:
    ids = np.arange(len(samples))[part]
    rows = TextRows(samples.texts[part], samples.lengths()[part], context, samples, ids, BASE)
    return np.asarray(features.bind(name, {})(rows))


@every_feature
@given(written=texts)
def test_finite_on_any_text(name: str, written: list[str]) -> None:
    found = values(name, samples_of(written))
    assert found.shape == (len(written),)
    assert np.isfinite(found).all()


@every_feature
@given(written=texts)
def test_deterministic(name: str, written: list[str]) -> None:
    assert np.array_equal(values(name, samples_of(written)), values(name, samples_of(written)))


@every_feature
@given(written=texts, cut=st.integers(1, 7))
def test_independent_of_batch_borders(name: str, written: list[str], cut: int) -> None:
    samples = samples_of(written)
    parts = [values(name, samples, part) for part in (slice(cut), slice(cut, None))]
    assert np.array_equal(np.concatenate(parts), values(name, samples))


@every_feature
def test_the_batches_of_feature_values(name: str, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = feature_values(samples, Choice(name=name), 5, BASE)
    monkeypatch.setattr("cllora.corpus.feature.FEATURE_ROWS", 2)
    samples.cache.clear()
    assert np.array_equal(feature_values(samples, Choice(name=name), 5, BASE), whole)


@every_feature
def test_computed_once_for_the_same_base(name: str, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    first = feature_values(samples, Choice(name=name), 5, BASE)
    monkeypatch.setattr(features, "get", lambda name: lambda rows: 1 / 0)
    assert feature_values(samples, Choice(name=name), 5, BASE) is first


@every_feature
def test_has_help(name: str) -> None:
    assert features.help(name)


def test_length_and_seen_tokens(samples: Samples) -> None:
    expected = {"characters": [7, 5, 18], "words": [2, 1, 3], "tokens": [8, 6, 20]}
    for unit, numbers in expected.items():
        choice = Choice.model_validate({"name": "length", "unit": unit})
        assert feature_values(samples, choice, context=7).tolist() == numbers
    assert feature_values(samples, Choice(name="length"), context=7).tolist() == expected["characters"]
    assert feature_values(samples, Choice(name="seen_tokens"), context=7).tolist() == [7, 6, 7]


def test_unknown_features_and_options(samples: Samples) -> None:
    with pytest.raises(UsageError, match="did you mean 'length'"):
        feature_values(samples, Choice(name="lenght"), context=7)
    with pytest.raises(UsageError, match="unit"):
        feature_values(samples, Choice.model_validate({"name": "length", "unit": "pages"}), context=7)


@pytest.fixture
def wrong_feature() -> Callable[[object], Choice]:
    def register(result: object) -> Choice:
        features.register("wrong")(lambda rows: result)
        return Choice(name="wrong")

    return register


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (np.array([1.0, np.nan, 2.0]), r"'wrong' must give finite numbers, not nan \(sample 1\)"),
        (np.zeros((3, 2)), r"'wrong' must give one number per text: shape \(3,\), not \(3, 2\)"),
        (["a", "b", "c"], "'wrong' must give numbers"),
        (None, "'wrong' must give"),
    ],
)
def test_wrong_features(result: object, said: str, samples: Samples, wrong_feature: Callable[[object], Choice]) -> None:
    with pytest.raises(UsageError, match=said):
        feature_values(samples, wrong_feature(result), context=7)
