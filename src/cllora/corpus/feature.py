"""Features: one number per text, by which texts are told apart when they are dealt to clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError, deprecated
from cllora.registry import Registry
from cllora.spec import OLD_NAMES, Choice
from cllora.types import Array, Ids, Samples

FEATURE_ROWS = 4096


@dataclass(frozen=True)
class BaseLosses:
    """The frozen base as far as features need it.

    `of(samples, ids)` is each sample's loss under it: summed over its predicted tokens, in nats. Shape (len(ids),).
    `name` tells one base from another.
    """

    name: str
    compute: Callable[[Samples, Ids], Array]


@dataclass(frozen=True)
class TextRows:
    """The samples as a feature sees them: the texts, their tokens' number (uncut, (len,)), the model's context.

    Their `ids` are those that they have among all `samples`. `base` is there when the feature is asked for by a study.
    """

    texts: Sequence[str]
    tokens: NDArray[np.int64]
    context: int
    samples: Samples
    ids: Ids
    base: BaseLosses | None = None

    def nll(self, prefix: NDArray[np.int64] | None = None, *, hidden: bool = False) -> Array:
        """Each text's loss under the frozen base: summed over its predicted tokens, in nats. Shape (len,).

        With `prefix` (len,) only the tokens after the first so many are predicted. `hidden` takes these out of the
        text, all but its very first, which for most tokenizers is the one that starts any text.
        """
        if self.base is None:
            raise UsageError("the feature asks for losses of the base model, and here is no model; choose another")
        samples, ids = self.samples, self.ids
        if prefix is not None:
            samples = _after(samples, ids, prefix, self.context, hidden)
            ids = np.arange(len(samples), dtype=np.int64)
        nll = np.zeros(len(ids))
        predicted = samples.predicted(ids, self.context) > 0
        if predicted.any():
            nll[predicted] = self.base.compute(samples, ids[predicted])
        return nll


def _after(samples: Samples, ids: Ids, prefix: NDArray[np.int64], context: int, hidden: bool) -> Samples:
    """The samples `ids`, cut at the context, as new ones whose loss is on what follows their first `prefix` tokens."""
    tokens = [samples.tokens_of(int(i), context) for i in ids]
    if hidden:
        tokens = [np.concatenate([uncut[:1], uncut[max(k, 1) :]]) for uncut, k in zip(tokens, prefix, strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(kept) for kept in tokens])]).astype(np.int64)
    prompts = np.ones(len(ids), np.int32) if hidden else prefix.astype(np.int32)
    everything = np.concatenate([np.empty(0, np.int64), *tokens])
    spans = span_offsets = None
    if samples.spans is not None:
        place, starts, stops = samples.answered(ids, context)
        gone = np.maximum(prefix - 1, 0)[place] if hidden else np.zeros(len(place), np.int64)
        begins = np.minimum(np.maximum(starts, prefix[place]), stops)
        spans = np.stack([begins - gone, stops - gone], axis=1).clip(0).astype(np.int32)
        span_offsets = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(ids)))]).astype(np.int64)
    name = f"parts of {samples.fingerprint}"
    return Samples([""] * len(ids), everything, offsets, prompts, {}, name, spans=spans, span_offsets=span_offsets)


@dataclass(frozen=True)
class FeatureFacts:
    """The facts of a feature: whether its numbers have an order (or stand for classes, such as topics), and whether
    they are a text's length."""

    ordered: bool = True
    measures: Literal["length"] | None = None


features: Registry[Callable[..., Array], FeatureFacts] = Registry("feature", FeatureFacts, OLD_NAMES["partition.by"])
"""Features: functions of `TextRows` that give one finite number per text.

What they give depends on that text alone, or on it and all `samples`; never on which others are in the same rows.
"""


def is_ordered(feature: str) -> bool:
    """Whether the feature's numbers have an order; if not, each stands for a class."""
    return features.facts(feature).ordered and feature not in unordered


def is_length(feature: str) -> bool:
    """Whether the feature is a text's length; also of a name that is registered no more, which is none."""
    return feature in features and features.facts(feature).measures == "length"


class _Unordered(set[str]):
    """The list that facts stand in place of, for users' files that add to it."""

    def add(self, name: str) -> None:
        deprecated("cllora.corpus.unordered.add", "@features.register(ordered=False)")
        super().add(name)


unordered: set[str] = _Unordered()


@features.register(measures="length")
def length(rows: TextRows, *, unit: Literal["characters", "words", "tokens"] = "characters") -> Array:
    """The length of a text, uncut: in characters, words (separated by white space) or tokens."""
    if unit == "tokens":
        return rows.tokens.astype(np.float64)
    return np.array([len(text) if unit == "characters" else len(text.split()) for text in rows.texts], np.float64)


@features.register(measures="length")
def seen_tokens(rows: TextRows) -> Array:
    """The number of a text's tokens that the model sees: all, up to its context."""
    return np.minimum(rows.tokens, rows.context).astype(np.float64)


@features.register()
def corrupted(rows: TextRows) -> Array:
    """Whether a text is in the corrupted form that `data.corrupt` gave it: 1 or 0. A client's mean is its dose."""
    return (rows.ids >= rows.samples.originals).astype(np.float64)


def feature_values(samples: Samples, choice: Choice, context: int, base: BaseLosses | None = None) -> Array:
    """The chosen feature of every sample. Shape (len(samples),), finite. Computed once for the same samples and base.

    Raises:
        UsageError: there is no such feature or option, or it gives something other than a finite number per text.
    """
    feature = features.bind(choice.name, choice.options)
    asked = f"{choice.model_dump_json()} in context {context}, base {base and base.name}"
    return samples.once(asked, lambda: _values(samples, choice.name, feature, context, base))


def _values(samples: Samples, name: str, feature: Callable[..., Array], context: int, base: BaseLosses | None) -> Array:
    lengths = samples.lengths()
    values = np.empty(len(samples), np.float64)
    for start in range(0, len(samples), FEATURE_ROWS):
        part = slice(start, min(start + FEATURE_ROWS, len(samples)))
        ids = np.arange(part.start, part.stop, dtype=np.int64)
        rows = TextRows(samples.texts[part], lengths[part], context, samples, ids, base)
        values[part] = checked_values(name, feature(rows), start, len(ids))
    return values


def checked_values(name: str, result: object, start: int, count: int) -> Array:
    """Check that a feature gave one finite number for each of `count` samples from the one numbered `start` on.

    Raises:
        UsageError: it is something else.
    """
    try:
        values = np.asarray(result, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"feature '{name}' must give numbers, not {type(result).__name__}") from None
    if values.shape != (count,):
        raise UsageError(f"feature '{name}' must give one number per text: shape ({count},), not {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UsageError(f"feature '{name}' must give finite numbers, not {values[bad[0]]} (sample {start + bad[0]})")
    return values
