"""Numbers and words as a person reads them, beside those of `cllora.metrics.formats`."""

import math
from collections.abc import Sequence

from cllora.metrics.formats import signed


def brief(x: float) -> str:
    """A number with four digits that count."""
    return "–" if math.isnan(x) else f"{x:.4g}".replace("-", "−")


def whole(x: float) -> str:
    return "–" if math.isnan(x) else f"{x:,.0f}".replace("-", "−")


def interval_text(difference: float, low: float, high: float) -> str:
    """`+0.012 [−0.003, +0.027]`; the difference alone where there is no interval."""
    doubt = "" if math.isnan(low) else f" [{signed(low)}, {signed(high)}]"
    return f"{signed(difference)}{doubt}"


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def span(low: int, high: int) -> str:
    """`3 to 7`, or `3` if that is all."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
