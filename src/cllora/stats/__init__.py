"""Statistics: paired contrasts, several comparisons at once, power, dyadic correlation. Arrays in, arrays out.

This room knows nothing of the rest of cllora.
"""

from cllora.stats.components import Components, Differences, components
from cllora.stats.differences import (
    BY_RANKS,
    estimate,
    interval,
    needed,
    p_of_difference,
    p_of_equivalence,
    values_of,
)
from cllora.stats.dyads import Block, Correlation, dyadic_correlation
from cllora.stats.multiplicity import Adjusted, adjust_for_multiplicity, holm
from cllora.stats.paired import (
    Numbers,
    hedges_g,
    p_differs,
    p_equivalent,
    paired_interval,
    summary,
    t_interval,
)
from cllora.stats.power import MOST_SEEDS, chance_of_differs, chance_of_equivalent, seeds_needed, seeds_to_tell
from cllora.stats.ranks import hodges_lehmann, p_typical_differs, p_typical_equivalent, signed_rank_interval
from cllora.stats.sequential import Chances, chances, level_after, level_of_look, looks

__all__ = [
    "BY_RANKS",
    "MOST_SEEDS",
    "Adjusted",
    "Block",
    "Chances",
    "Components",
    "Correlation",
    "Differences",
    "Numbers",
    "adjust_for_multiplicity",
    "chance_of_differs",
    "chance_of_equivalent",
    "chances",
    "components",
    "dyadic_correlation",
    "estimate",
    "hedges_g",
    "hodges_lehmann",
    "holm",
    "interval",
    "level_after",
    "level_of_look",
    "looks",
    "needed",
    "p_differs",
    "p_equivalent",
    "p_of_difference",
    "p_of_equivalence",
    "p_typical_differs",
    "p_typical_equivalent",
    "paired_interval",
    "seeds_needed",
    "seeds_to_tell",
    "signed_rank_interval",
    "summary",
    "t_interval",
    "values_of",
]
