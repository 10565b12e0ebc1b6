"""Features of how a text is worded: how varied its words are, how much of it repeats itself."""

import re
import zlib
from collections.abc import Iterable
from typing import Annotated

import numpy as np
from pydantic import Field

from cllora.corpus.feature import TextRows, features
from cllora.types import Array

WORD = re.compile(r"\w+(?:['’]\w+)*")
EMPTY_DEFLATE = 2
"""Bytes that raw deflate makes of nothing."""

Share = Annotated[float, Field(gt=0, lt=1)]
Words = Annotated[int, Field(ge=1)]


def words_of(text: str) -> list[str]:
    """A text's words in lower case: runs of letters, digits and underscores, with apostrophes inside."""
    return WORD.findall(text.lower())


@features.register()
def mtld(rows: TextRows, *, threshold: Share = 0.72) -> Array:
    """Lexical diversity: the mean number of words over which the share of different ones stays above a threshold.

    MTLD of McCarthy and Jarvis 2010 (doi:10.3758/BRM.42.2.381): words over factors, the mean of a pass forward and one
    backward. A factor is full whenever types / tokens since the last one is at the threshold or below; what is left
    at the end is the part (1 - types / tokens) / (1 - threshold) of one.

    A text without any repetition has no factor at all. It is taken as if its next word were a repetition, with at
    most one factor: 1 / ((w + 1) (1 - threshold)) of it for w words. So it lies just above the texts of w words that
    repeat one, where the usual convention (one factor, w) would put it far below them. A text without words is 0.
    """
    words = [words_of(text) for text in rows.texts]
    # A sum of two has no order, so that a text and its reverse have the very same value.
    return np.array(
        [(_pass(text_words, threshold) + _pass(reversed(text_words), threshold)) / 2 for text_words in words],
        np.float64,
    )


def _pass(words: Iterable[str], threshold: float) -> float:
    """Words over factors in one direction."""
    factors, count, total, types = 0.0, 0, 0, set[str]()
    for word in words:
        count += 1
        total += 1
        types.add(word)
        if len(types) <= threshold * count:
            factors, count, types = factors + 1, 0, set()
    if count:
        factors += (1 - len(types) / count) / (1 - threshold)
    if factors == 0:
        factors = min(1.0, 1 / ((total + 1) * (1 - threshold)))
    return total / factors


@features.register()
def compression(rows: TextRows) -> Array:
    """The compression ratio of a text: its bytes after deflate over those before; low is redundant.

    Raw deflate (zlib's, level 9) without header and checksum, less the two bytes that nothing takes; the text in
    UTF-8. What is left of the bias of short texts, in which there is nothing yet to refer back to, is for
    `residual_on: length` to take out. A text without a byte is 1.
    """
    return np.array([_compressed(text.encode()) for text in rows.texts], np.float64)


def _compressed(text: bytes) -> float:
    if not text:
        return 1.0
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (len(deflate.compress(text)) + len(deflate.flush()) - EMPTY_DEFLATE) / len(text)


@features.register()
def repetition(rows: TextRows, *, n: Words = 3) -> Array:
    """The share of a text's characters, of those in words, that are in runs of `n` words that occurred before.

    Gopher's duplicate n-grams (Rae et al. 2021, arXiv:2112.11446, table A1), counted as DataTrove does: from left to
    right, a repeated run is counted once and passed over whole. From 0 to below 1; it rises with length.
    """
    return np.array([repeated_share(words_of(text), n) for text in rows.texts], np.float64)


def repeated_share(words: list[str], n: int) -> float:
    """The share of the words' characters that are in runs of `n` words that occurred before."""
    seen: set[tuple[str, ...]] = set()
    repeated, place = 0, 0
    while place + n <= len(words):
        run = tuple(words[place : place + n])
        if run in seen:
            repeated += sum(map(len, run))
            place += n
        else:
            seen.add(run)
            place += 1
    return repeated / max(1, sum(map(len, words)))
