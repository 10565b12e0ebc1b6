"""Numbers and words as a person reads them: a true minus sign, a dash for what was not measured."""

import math
from collections.abc import Callable, Iterable, Sequence


def number(x: float, digits: int = 3) -> str:
    """Format a number with `digits` decimals; `–` if it is NaN."""
    return "–" if math.isnan(x) else f"{x + 0.0:.{digits}f}".replace("-", "−")


def signed(x: float, digits: int = 3) -> str:
    """Format a difference: `number` with a plus sign where it is positive."""
    text = number(x, digits)
    return f"+{text}" if x > 0 else text


def megabytes(count: float) -> str:
    """Format bytes as MB (10^6), with at least three significant digits."""
    if math.isnan(count):
        return "–"
    return f"{count / 1e6:.3g}" if count < 1e8 else f"{count / 1e6:,.0f}"


def percent(share: float) -> str:
    """Format a share in percent; near 1 with the digits that tell it from 1: `99.963 %`."""
    digits = 3 if share > 0.99 else 1
    return "–" if math.isnan(share) else f"{round(100 * share, digits) + 0.0:.{digits}f} %".replace("-", "−")


def level(share: float) -> str:
    """Format a level, of intervals or of error: `95 %`, `99.17 %`, `5 %`."""
    return f"{100 * share:.4g} %"


def brief(x: float) -> str:
    """A number with four digits that count."""
    return "–" if math.isnan(x) else f"{x:.4g}".replace("-", "−")


def whole(x: float) -> str:
    """A number without decimals."""
    return "–" if math.isnan(x) else f"{x:,.0f}".replace("-", "−")


def span(low: int, high: int) -> str:
    """`3 to 7`, or `3` if that is all."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def ends(values: Iterable[float], show: Callable[[float], str]) -> str:
    """The least and the most of some values, `0.1 to 0.3`, or the one that they all are."""
    values = list(values)
    return " to ".join(dict.fromkeys(map(show, (min(values), max(values)))))


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(sentence: str) -> str:
    """A sentence with its first letter as a capital."""
    return sentence[:1].upper() + sentence[1:]
