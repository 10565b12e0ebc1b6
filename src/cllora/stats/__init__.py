"""Statistics: paired contrasts, several comparisons at once, power, dyadic correlation. Arrays in, arrays out.

This room knows nothing of the rest of cllora.
"""

from cllora.stats.dyads import Block, Correlation, dyadic_correlation
from cllora.stats.multiplicity import Adjusted, adjust_for_multiplicity, holm
from cllora.stats.paired import (
    BOOTSTRAP_PAIRS,
    Numbers,
    bootstrap_interval,
    hedges_g,
    p_differs,
    p_equivalent,
    paired_interval,
    summary,
    t_interval,
)
from cllora.stats.power import MOST_SEEDS, chance_of_differs, chance_of_equivalent, seeds_needed, seeds_to_tell

__all__ = [
    "BOOTSTRAP_PAIRS",
    "MOST_SEEDS",
    "Adjusted",
    "Block",
    "Correlation",
    "Numbers",
    "adjust_for_multiplicity",
    "bootstrap_interval",
    "chance_of_differs",
    "chance_of_equivalent",
    "dyadic_correlation",
    "hedges_g",
    "holm",
    "p_differs",
    "p_equivalent",
    "paired_interval",
    "seeds_needed",
    "seeds_to_tell",
    "summary",
    "t_interval",
]
