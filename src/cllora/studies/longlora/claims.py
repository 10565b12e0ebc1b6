"""LongLoRA's claim: shifted sparse attention with LoRA, norms and embeddings ends where full fine-tuning does."""

from cllora.analysis import Results, Run
from cllora.claims import Contrast, Source, against_control, claims

WITH_BOTH = {"lora", "norms", "embeddings"}
LOSS = "position_loss"
LONGLORA = Source(title="LongLoRA's claim", counted="LongLoRA's 1 claim")


def is_recipe(run: Run) -> bool:
    """Whether it trains as LongLoRA does."""
    return run.experiment.model.attention.name == "s2" and set(run.experiment.lora.parts) >= WITH_BOTH


def is_full(run: Run) -> bool:
    """Whether it trains everything under full attention."""
    return run.experiment.lora.train == run.experiment.model.attention.name == "full"


def compares_recipe(results: Results) -> bool:
    """Whether cells of LongLoRA's recipe are there, all with full fine-tuning as their control."""
    controls = {cell: results.cell({**run.labels, **results.control}) for cell, run in results.first.items()}
    against = {controls[cell] for cell, run in results.first.items() if is_recipe(run) and controls[cell] != cell}
    runs = [results.first[cell] for cell in against if cell in results.first]
    return bool(runs) and all(is_full(run) for run in runs)


@claims.register(
    "longlora/as-far",
    title="LongLoRA comes as far as full fine-tuning",
    metrics=LOSS,
    rule="barely",
    computed="loss over all positions, minus that of full fine-tuning",
    source=LONGLORA,
    run="longlora",
)
def as_far_as_full(results: Results) -> list[Contrast]:
    """LongLoRA comes as far as full fine-tuning: the loss over all positions is equivalent within the margin."""
    if not compares_recipe(results):
        return []
    return [contrast for contrast in against_control(results) if is_recipe(results.first[contrast.cells[0]])]
