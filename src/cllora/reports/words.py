"""Numbers and effects as a person reads them. No sentence here says more than the data does."""

import math

import pandas as pd

from cllora.analysis import as_family
from cllora.metrics.formats import megabytes as megabytes
from cllora.metrics.formats import number as number
from cllora.metrics.formats import percent as percent
from cllora.metrics.formats import signed as signed
from cllora.reports.runs import Runs

NATS = "nats per token"


FROM_START = (
    ("the untrained base", "the start"),
    ("untrained base", "start"),
    ("untrained to", "at the start to"),
    ("the base, before", "the start, before"),
    ("the base from", "the start from"),
    ("the base (last bin)", "the start (last bin)"),
    ("The base is stretched", "The start is stretched"),
    ("against the base", "against the start"),
    ("against base", "against start"),
    ("minus the base", "minus the start"),
    ("minus base", "minus start"),
    ("− base", "− start"),
    ("above the base", "above the start"),
    ("over base loss", "over start loss"),
    (">base</th>", ">start</th>"),
    ('data-label="base"', 'data-label="start"'),
    ("& base &", "& start &"),
)
"""What is said of the base where the model before training is meant; and of that where it has an adapter already."""


def begun(runs: Runs, text: str) -> str:
    """The text as it is true of runs of which some begin at an adapter: round 0 is not the bare base there."""
    for base, start in FROM_START if runs.has_start else ():
        text = text.replace(base, start)
    return text


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def span(low: int, high: int) -> str:
    """`3 to 7`, or `3` if that is all."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def interval(row: pd.Series) -> str:
    """What is known of the doubt of a contrast that `largest` chose: its interval and seeds, or that there is one."""
    if row["seeds"] < 2:
        return "one seed: no interval"
    low, high = (signed(row[end], digits_for(row)) for end in ("low_holm", "high_holm"))
    over = f" over all {row['comparisons']} comparisons" if row["comparisons"] > 1 else ""
    seeds = "only 2 seeds" if row["seeds"] == 2 else f"{row['seeds']} seeds"
    return f"95 % interval{over} {low} to {high}, {seeds}"


def with_interval(difference: float, low: float, high: float) -> str:
    """`+0.012 [−0.003, +0.027]`; the difference alone where there is no interval."""
    doubt = "" if math.isnan(low) else f" [{signed(low)}, {signed(high)}]"
    return f"{signed(difference)}{doubt}"


def digits_for(row: pd.Series) -> int:
    """Decimals: three, or as many as it takes to tell the ends of an interval that leaves out zero from zero."""
    if not is_clear(row):
        return 3
    nearest = min(abs(row["low_holm"]), abs(row["high_holm"]))
    return max(3, min(6, 1 - math.floor(math.log10(nearest))))


def is_clear(row: pd.Series) -> bool:
    """Whether a contrast's interval leaves out zero. Without an interval nothing is clear."""
    return bool(row["low_holm"] > 0 or row["high_holm"] < 0)


def largest(contrasts: pd.DataFrame) -> pd.Series | None:
    """The largest difference among the clear ones, or if none is clear the largest of all.

    Because it is chosen, its interval is that of all of them as one family, and so is what counts as clear.
    """
    known = as_family(contrasts).dropna(subset=["difference"])
    if known.empty:
        return None
    clear = known[(known["low_holm"] > 0) | (known["high_holm"] < 0)]
    among = clear if len(clear) else known
    return among.iloc[int(among["difference"].abs().argmax())]


def not_drawn(cells: int) -> tuple[str, ...]:
    """A note on the cells that a section has no room for, if there are any."""
    return (f"Not drawn: {count(cells, 'more cell')}; their numbers are in the file.",) if cells > 0 else ()


def difference(contrasts: pd.DataFrame, subject: str, unit: str = NATS) -> str:
    """One sentence on the largest difference of `subject` between a cell and its control."""
    row = largest(contrasts)
    if row is None:
        return f"No cell can be compared with its control yet, so nothing is known of differences in {subject}."
    digits, clear = digits_for(row), is_clear(row)
    among = f"the largest {'clear one ' if clear else ''}of {row['comparisons']}" if row["comparisons"] > 1 else ""
    way = "higher" if row["difference"] > 0 else "lower"
    apart = f"{number(abs(row['difference']), digits)} {way} than"
    if round(abs(row["difference"]), digits) == 0:
        apart = f"the same to {digits} decimals as"
    said = f"was {number(row['mean'], digits)} {unit} at {row['cell']}, {apart} at {row['against']}"
    if row["seeds"] < 2:
        return f"One seed cannot tell whether {subject} differs: it {said}{f', {among} comparisons' if among else ''}."
    doubt = f"{among}; {interval(row)}" if among else interval(row)
    if not clear:
        return f"No clear difference in {subject}: it {said} ({doubt}); {row['answer']}."
    return capital(f"{subject} {said} ({doubt}).")


def effect(runs: Runs, metric: str, subject: str, unit: str = NATS, outcomes: pd.DataFrame | None = None) -> str:
    """One sentence on an outcome over the cells: against the control if there is one, else its range.

    `outcomes` may be given as for `Runs.contrasts`.
    """
    if runs.controls and len(runs.cells) > len(runs.controls):
        return difference(runs.contrasts(metric, outcomes), subject, unit)
    known = runs.averaged if outcomes is None else runs.counted(outcomes)
    means = known.groupby("cell", sort=False)[metric].mean().dropna()
    if means.empty:
        return f"Nothing was measured of {subject}."
    if len(means) == 1:
        return capital(f"{subject} was {number(means.iloc[0])} {unit}; there is nothing to compare it with.")
    low, high = str(means.idxmin()), str(means.idxmax())
    return capital(
        f"{subject} ran from {number(means.min())} ({low}) to {number(means.max())} {unit} ({high}); "
        "without a control no difference is tested."
    )
