"""Notes that several sections have."""

import re

from cllora.analysis import Results
from cllora.analysis.names import LEAKS
from cllora.stats import BY_RANKS

NO_TESTS = "Clients kept no test texts of their own (partition.local_test is 0)"
BY_WHAT = f"Student's t interval of the mean, from {BY_RANKS} pairs on that of the typical difference by signed ranks"
"""The interval of differences."""


def bands(results: Results) -> str:
    """The meaning of a band, where there are several seeds to draw one of."""
    return "The band is the mean plus and minus one standard deviation over seeds." if len(results.seeds) > 1 else ""


def other_tests(results: Results) -> str:
    """A word on what is compared where cells test their clients on other texts than the control does."""
    if results.tested_alike:
        return ""
    return (
        "Clients of a cell have other test texts than those of its control here, so numbers of clients' own texts are "
        "not compared; what is compared is of the global test set."
    )


def leaks(results: Results) -> str:
    """A warning of the cells that leak, if any does."""
    cells = "; ".join(results.leaking)
    return f"Tokens see later ones of their text ({LEAKS}): {cells}." if cells else ""


FROM_START = (
    (r"\b([Tt]he )?untrained base\b", r"the start"),
    (r"\b(against|minus|above|over)( the)? base\b(?! model)", r"\1\2 start"),
    (r"− base\b", "− start"),
    (r"\b([Tt]he) base(, before training| \(last bin\)| is stretched)", r"\1 start\2"),
    (r'(data-label="|>|& )base(?="|<| &)', r"\1start"),
)
"""The names of the model before training, and those where it has an adapter already."""


def begun(results: Results, text: str) -> str:
    """The text as it is true of runs of which some begin at an adapter: round 0 is not the bare base there."""
    for base, start in FROM_START if results.has_start else ():
        text = re.sub(base, start, text)
    return text
