"""Numbers and words as a person reads them, beside those of `cllora.metrics.formats`."""

import math
from collections.abc import Sequence


def brief(x: float) -> str:
    """A number with four digits that count."""
    return "–" if math.isnan(x) else f"{x:.4g}".replace("-", "−")


def whole(x: float) -> str:
    return "–" if math.isnan(x) else f"{x:,.0f}".replace("-", "−")


def span(low: int, high: int) -> str:
    """`3 to 7`, or `3` if that is all."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
