"""Registries: the facts that members state, and the old lists that users' files may still add to."""

from dataclasses import dataclass

import pytest

from cllora import errors
from cllora.corpus import corpora, features, is_length, is_ordered, unordered, versions
from cllora.corpus.registry import version_of
from cllora.errors import UsageError
from cllora.registry import Registry


@dataclass(frozen=True)
class Facts:
    title: str
    order: int = 0


def registry() -> Registry:
    return Registry("thing", Facts)


def test_a_member_states_facts():
    things = registry()
    things.register(title="a thing", order=2)(len)
    assert things.facts("len") == Facts("a thing", 2)
    assert "len" in things


def test_facts_that_are_missing_or_unknown_are_named():
    with pytest.raises(UsageError, match=r"thing 'len' must state its title: register\(title=\.\.\.\)"):
        registry().register()(len)
    with pytest.raises(UsageError, match="thing 'len' cannot state 'titel'; did you mean 'title'"):
        registry().register(titel="a thing")(len)


def test_what_is_refused_is_not_there():
    things = registry()
    with pytest.raises(UsageError):
        things.register()(len)
    assert things.names() == []


def test_features_say_what_their_numbers_are():
    assert [name for name in features.names() if is_length(name)] == ["length", "seen_tokens"]
    assert [name for name in features.names() if not is_ordered(name)] == ["topic"]
    assert not is_length("registered by nobody")


def test_the_old_lists_still_count_and_warn(caplog):
    errors.deprecated.cache_clear()
    features.register("kind of text")(lambda rows: rows.tokens)
    corpora.register("own texts")(list)
    with caplog.at_level("WARNING", "cllora"):
        unordered.add("kind of text")
        versions.register("own texts")(lambda: "1")
    assert not is_ordered("kind of text")
    assert version_of("own texts")() == "1"
    assert "@features.register(ordered=False)" in caplog.text
    assert "@corpora.register(version=...)" in caplog.text
    unordered.discard("kind of text")
