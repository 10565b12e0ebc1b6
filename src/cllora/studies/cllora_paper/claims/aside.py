"""The claims that the paper makes in passing, in comparing its own figures."""

from collections.abc import Sequence

from cllora.analysis import Results
from cllora.claims import Contrast, Evidence, claims
from cllora.studies.cllora_paper.claims.evidence import (
    GLOBAL_LOSS,
    LENGTH_STUDY,
    PAPER,
    cannot_be_ordered,
    contrasts_of,
    of_model,
    sizes_of,
    strong,
)
from cllora.studies.cllora_paper.measures import (
    TEN,
    global_minus_local,
    global_minus_local_per_sample,
    loss_after_ten,
)
from cllora.studies.cllora_paper.skew import LENGTH, QUANTITY, settings_of


@claims.register(
    "paper/j",
    label="j",
    title="length skew hits the global model more than local training",
    metrics={"per token": global_minus_local, "per text": global_minus_local_per_sample},
    rule="raises",
    computed="what skew adds to the loss of the global model, minus what it adds to that of clients' own adapters on "
    "texts like theirs",
    source=PAPER,
    run=LENGTH_STUDY,
)
def length_hits_the_global_model_more(results: Results) -> Sequence[Contrast]:
    """The effect of length skew on the global model minus that on local training, by seed: two verdicts are no
    comparison."""
    return contrasts_of(settings_of(results, LENGTH, strong))


@claims.register(
    "paper/k",
    label="k",
    title="fairness across clients stays high under length skew",
    metrics="excess_spread",
    rule="barely",
    computed="standard deviation over the skewed clients of what they gain from the global model, minus that of what "
    "they would gain from the control's, on the same texts",
    source=PAPER,
    run=LENGTH_STUDY,
)
def fairness_stays_under_length(results: Results) -> Sequence[Contrast]:
    """Under length skew the global model serves the clients no less evenly than the control's would serve them."""
    return contrasts_of(settings_of(results, LENGTH, strong))


@claims.register(
    "paper/l",
    label="l",
    title="the largest model gains by length skew",
    metrics=GLOBAL_LOSS,
    rule="lowers",
    computed="global loss, mean of the last half of the rounds, skewed minus control, at the largest model",
    source=PAPER,
    run=LENGTH_STUDY,
)
def the_largest_model_gains(results: Results) -> Evidence:
    """Length skew lowers the global loss at the largest of several models."""
    settings = settings_of(results, LENGTH, strong)
    sizes = sizes_of(settings)
    if not sizes:
        return Evidence()
    if lacking := cannot_be_ordered(sizes):
        return Evidence(lacking=lacking)
    return Evidence(contrasts_of(of_model(settings, max(sizes, key=lambda name: sizes[name]))))


@claims.register(
    "paper/m",
    label="m",
    title="after ten rounds the loss is lower without skew",
    metrics={"after ten rounds": loss_after_ten},
    rule="raises",
    computed="global loss after ten rounds, skewed minus control",
    source=PAPER,
    run=LENGTH_STUDY,
)
def even_clients_are_ahead_after_ten_rounds(results: Results) -> Evidence:
    """After ten rounds skewed clients' global loss is higher than even ones'."""
    settings = [setting for kind in (LENGTH, QUANTITY) for setting in settings_of(results, kind, strong)]
    whole = [setting for setting in settings if setting.run.experiment.federation.num_rounds >= TEN]
    if settings and not whole:
        return Evidence(not_applicable="the study has fewer than ten rounds")
    return Evidence(contrasts_of(whole))
