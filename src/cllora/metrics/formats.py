"""Numbers as a person reads them: a true minus sign, a dash for what was not measured."""

import math


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
