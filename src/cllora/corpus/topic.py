"""Topics: a light clustering of all texts by their words."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from cllora.corpus.feature import TextRows, features
from cllora.corpus.lexical import words_of
from cllora.seeds import rng
from cllora.types import Array

log = logging.getLogger("cllora")

VOCABULARY = 4096
STARTS, STEPS = 4, 50
BATCH = 4096
SHOWN = 6

Topics = Annotated[int, Field(ge=1, le=1000)]


@features.register(ordered=False)
def topic(rows: TextRows, *, topics: Topics = 5) -> Array:
    """The topic of a text, of a few, by its words; topics are classes without an order, 0 being the largest.

    Spherical k-means (Dhillon and Modha 2001) on TF-IDF vectors of all texts, test texts among them; `cluster` has the
    formula. Each topic is a class of the partition, so `partition.classes` must not be below `topics`. What the topics
    are about is logged.
    """
    samples = rows.samples
    topic_of = samples.once(f"{topics} topics", lambda: cluster(samples.texts, topics, samples.originals))
    return topic_of[rows.ids]


def cluster(texts: Sequence[str], topics: int, fit: int | None = None) -> Array:
    """The topic of each text, 0 (the largest) to topics - 1, found by the first `fit` of them (all). Shape (n,).

    Words count that occur in two texts or more and not in all, the 4,096 most frequent. A text's vector
    has (1 + log tf) log(n / df) for each of them, of length 1. k-means++ picks the first centres and the steps
    go on until no text changes; of four starts that with the highest sum of cosines is kept. The draws are the same for
    every seed of a study, so that topics are. A text with none of the words is of topic 0.
    """
    fit = len(texts) if fit is None else fit
    words, vectors = tf_idf(texts, fit)
    with_words = np.flatnonzero(np.diff(vectors.indptr))
    basis = vectors[with_words[with_words < fit]]
    if basis.shape[0] == 0:
        return np.zeros(len(texts))
    starts = [_spherical(basis, topics, rng(0, "topics", start)) for start in range(STARTS)]
    labels, centres, _ = max(starts, key=lambda start: start[2])
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")
    centres, sizes = centres[order], sizes[order]
    for number in np.flatnonzero(sizes):
        top = [words[word] for word in np.argsort(-centres[number], kind="stable")[:SHOWN]]
        log.info("topic %d, %s texts: %s", number, f"{sizes[number]:,}", ", ".join(top))
    topic_of = np.zeros(len(texts))
    topic_of[with_words] = np.argmax(vectors[with_words] @ centres.T, axis=1)
    return topic_of


def tf_idf(texts: Sequence[str], fit: int) -> tuple[list[str], csr_array]:
    """The vocabulary of the first `fit` texts, and all texts' vectors over it, of length 1 (or 0), sparse."""
    n = len(texts)
    frequency = Counter(word for text in _read(texts, fit) for word in set(words_of(text)))
    candidates = [(-df, word) for word, df in frequency.items() if 2 <= df < fit]
    words = [word for _, word in sorted(candidates)[:VOCABULARY]]
    idf = np.array([np.log(fit / frequency[word]) for word in words])
    place = {word: i for i, word in enumerate(words)}
    columns: list[int] = []
    counts: list[int] = []
    ends = [0]
    for text in _read(texts, n):
        tf = Counter(place[word] for word in words_of(text) if word in place)
        columns += tf.keys()
        counts += tf.values()
        ends.append(len(columns))
    at = np.array(columns, np.int64)
    weights = (1 + np.log(np.array(counts, np.float64))) * idf[at]
    vectors = csr_array((weights, at, np.array(ends)), shape=(n, len(words)))
    norms = np.sqrt(np.add.reduceat(np.append(weights**2, 0), ends[:-1]) * (np.diff(ends) > 0))
    return words, csr_array(diags_array(1 / np.where(norms > 0, norms, 1)) @ vectors)


def _read(texts: Sequence[str], first: int) -> Iterator[str]:
    """The first so many texts, read from disk by the batch."""
    for start in range(0, first, BATCH):
        yield from texts[start : min(start + BATCH, first)]


def _spherical(vectors: csr_array, topics: int, draw: np.random.Generator) -> tuple[NDArray[np.int64], Array, float]:
    """Labels, centres of length 1 (at most `topics`), and the sum of the cosines of each text to its centre."""
    centres = _first_centres(vectors, topics, draw)
    labels = np.full(vectors.shape[0], -1, np.int64)
    for _ in range(STEPS):
        cosines = vectors @ centres.T
        before, labels = labels, np.argmax(cosines, axis=1)
        if np.array_equal(before, labels):
            break
        members = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(len(centres), len(labels)))
        sums = (members @ vectors).toarray()
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.where(norms > 0, norms, 1), centres)
    return labels, centres, float((vectors @ centres.T)[np.arange(len(labels)), labels].sum())


def _first_centres(vectors: csr_array, topics: int, draw: np.random.Generator) -> Array:
    """k-means++ (Arthur and Vassilvitskii 2007): each next centre is a text, drawn by 1 - cos to the nearest."""
    chosen = [int(draw.integers(vectors.shape[0]))]
    far = np.full(vectors.shape[0], np.inf)
    while len(chosen) < topics:
        nearness = (vectors @ vectors[[chosen[-1]]].T).toarray()[:, 0]
        far = np.minimum(far, np.where(nearness > 1 - 1e-9, 0, 1 - nearness))
        if far.sum() == 0:
            break  # fewer different texts than topics
        chosen.append(int(draw.choice(len(far), p=far / far.sum())))
    return np.asarray(vectors[chosen].toarray())
