"""A quality score without a language model: rules by which web texts are filtered, graded and averaged."""

from collections.abc import Callable

import numpy as np

from cllora.corpus.feature import TextRows, features
from cllora.corpus.lexical import repeated_share, words_of
from cllora.types import Array

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
ENDS = (".", "!", "?", '"', "'", "”", "’", ")")
JUNK = ("lorem ipsum", "javascript", "{")


def grade(value: float, worst: float, best: float) -> float:
    """0 at `worst` and beyond, 1 at `best` and beyond, linear between; ½ in the middle, where the rule's bound is."""
    return min(1.0, max(0.0, (value - worst) / (best - worst)))


def word_length(text: str, words: list[str]) -> float:
    """Mean word length: Gopher asks for 3 to 10 characters."""
    mean = sum(map(len, words)) / len(words)
    return min(grade(mean, 1, 5), grade(mean, 15, 5))


def alphabetic(text: str, words: list[str]) -> float:
    """Words with a letter: Gopher asks for 80 %."""
    return grade(sum(any(c.isalpha() for c in word) for word in words) / len(words), 0.6, 1)


def symbols(text: str, words: list[str]) -> float:
    """Hash marks and ellipses per word: Gopher allows 0.1."""
    return grade((text.count("#") + text.count("...") + text.count("…")) / len(words), 0.2, 0)


def stop_words(text: str, words: list[str]) -> float:
    """The share of stop words: Gopher asks for two in fifty words or more, 4 % at most."""
    return grade(sum(word in STOP_WORDS for word in words) / len(words), 0, 0.08)


def repeated(text: str, words: list[str]) -> float:
    """Characters in repeated runs of five words: Gopher allows 15 %."""
    return grade(repeated_share(words, 5), 0.3, 0)


def letters(text: str, words: list[str]) -> float:
    """Letters among the characters that are no white space: 80 %, a bound of our own."""
    return grade(sum(c.isalpha() for c in text) / max(1, sum(not c.isspace() for c in text)), 0.6, 1)


def ending(text: str, words: list[str]) -> float:
    """C4 asks for a punctuation mark at the end."""
    return float(text.rstrip().endswith(ENDS))


def junk(text: str, words: list[str]) -> float:
    """C4 asks for no `lorem ipsum`, no `javascript` and no curly bracket."""
    lower = text.lower()
    return float(not any(word in lower for word in JUNK))


RULES: tuple[Callable[[str, list[str]], float], ...] = (
    word_length,
    alphabetic,
    symbols,
    stop_words,
    repeated,
    letters,
    ending,
    junk,
)


@features.register()
def heuristics(rows: TextRows) -> Array:
    """Quality by rules, without a model: the mean of eight grades from 0 to 1, for English prose; high is good.

    Rules of Gopher (Rae et al. 2021, arXiv:2112.11446) and C4 (Raffel et al. 2020, arXiv:1910.10683), without those
    that are about length. Each is graded: ½ at the source's bound, 1 at the best there is, 0 as far on the other side.
    A text without words is 0.
    """
    return np.array([_score(text) for text in rows.texts], np.float64)


def _score(text: str) -> float:
    words = words_of(text)
    return sum(rule(text, words) for rule in RULES) / len(RULES) if words else 0.0
