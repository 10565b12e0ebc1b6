"""Features: one number per text, by which texts are told apart when they are dealt to clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.registry import Registry
from cllora.spec import Choice
from cllora.types import Samples

FEATURE_ROWS = 4096


@dataclass(frozen=True)
class TextRows:
    """Some samples as a feature sees them: the texts, their tokens' number (uncut, (len,)), the model's context."""

    texts: Sequence[str]
    tokens: NDArray[np.int64]
    context: int


features: Registry[Callable[..., NDArray[np.float64]]] = Registry("feature")
"""Features: functions of `TextRows` that give one finite number per text; what they give depends on that text alone."""


@features.register()
def length(rows: TextRows, *, unit: Literal["characters", "words", "tokens"] = "characters") -> NDArray[np.float64]:
    """How long a text is, uncut: in characters, words (separated by white space) or tokens."""
    if unit == "tokens":
        return rows.tokens.astype(np.float64)
    return np.array([len(text) if unit == "characters" else len(text.split()) for text in rows.texts], np.float64)


@features.register()
def seen_tokens(rows: TextRows) -> NDArray[np.float64]:
    """How many of a text's tokens the model sees: all, up to its context."""
    return np.minimum(rows.tokens, rows.context).astype(np.float64)


def feature_values(samples: Samples, choice: Choice, context: int) -> NDArray[np.float64]:
    """The chosen feature of every sample. Shape (len(samples),), finite.

    Raises:
        UsageError: there is no such feature or option, or it gives something other than a finite number per text.
    """
    feature = features.bind(choice.name, choice.options)
    asked = f"{choice.model_dump_json()} in context {context}"
    return samples.once(asked, lambda: _values(samples, choice.name, feature, context))


def _values(
    samples: Samples, name: str, feature: Callable[..., NDArray[np.float64]], context: int
) -> NDArray[np.float64]:
    lengths = samples.lengths()
    values = np.empty(len(samples), np.float64)
    for start in range(0, len(samples), FEATURE_ROWS):
        part = slice(start, start + FEATURE_ROWS)
        values[part] = _checked(
            name, feature(TextRows(samples.texts[part], lengths[part], context)), start, len(lengths[part])
        )
    return values


def _checked(name: str, found: Any, start: int, count: int) -> NDArray[np.float64]:
    """What a feature gave for the samples from `start` on, if it is one finite number for each."""
    try:
        values = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"feature '{name}' must give numbers, not {type(found).__name__}") from None
    if values.shape != (count,):
        raise UsageError(f"feature '{name}' must give one number per text: shape ({count},), not {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UsageError(f"feature '{name}' must give finite numbers, not {values[bad[0]]} (sample {start + bad[0]})")
    return values
