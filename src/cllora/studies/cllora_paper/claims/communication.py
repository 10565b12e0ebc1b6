"""The paper's claim on what is sent."""

import math

from cllora.analysis import Results, Run
from cllora.claims import Contrast, Evidence, claims
from cllora.metrics import SHARE
from cllora.studies.cllora_paper.claims.evidence import PAPER, SMALLEST_OF_PAPER, parameters

SAVED = 0.999
"""The share of the communication that the paper says is saved."""
PAPER_RANK = 2


@claims.register(
    "paper/h",
    label="h",
    title="99.9 % of the communication is saved",
    metrics="saved",
    rule="at least",
    margin=SAVED,
    unit=SHARE,
    computed="1 − bytes sent both ways, headers included, over those of the whole base in float32 as often, at rank 2; "
    "arithmetic, the same at every seed",
    source=PAPER,
    run="paper/table1",
)
def communication_is_saved(results: Results) -> Evidence:
    """One minus bytes sent over bytes of the whole base as often, at the paper's rank, of models of at least half the
    parameters of its smallest: no seeds, no interval."""
    runs = [run for run in results.members if run.experiment.lora.r == PAPER_RANK]
    runs = [run for run in runs if not math.isnan(run.outcome["saved"])]
    if not runs:
        return Evidence(lacking=f"nothing was sent at rank {PAPER_RANK}")
    sizes = [size for run in runs if not math.isnan(size := parameters(run))]
    if sizes and max(sizes) < SMALLEST_OF_PAPER / 2:
        largest = f"{max(sizes) / 1e6:.1f} million parameters, the paper's smallest has 125 million"
        return Evidence(not_applicable=f"what is saved is a matter of size: {largest}")
    models: dict[str, list[Run]] = {}
    for run in runs:
        if not parameters(run) < SMALLEST_OF_PAPER / 2:
            models.setdefault(run.experiment.model.name, []).append(run)
    return Evidence(
        [
            Contrast(model, [(run,) for run in same], tuple(dict.fromkeys(results.cell(run.labels) for run in same)))
            for model, same in models.items()
        ]
    )
