"""The paper's claims on quantity skew: what clients of much and of little data come to."""

from collections.abc import Sequence

from cllora.analysis import Results
from cllora.claims import Contrast, Evidence, claims
from cllora.metrics.signatures import fairness_collapse
from cllora.studies.cllora_paper.claims.evidence import (
    GLOBAL_LOSS,
    PAPER,
    QUANTITY_STUDY,
    contrasts_of,
    marked,
    strong,
)
from cllora.studies.cllora_paper.measures import (
    early_overfitted,
    early_turns_of_large,
    overfits_early,
    under_learns,
)
from cllora.studies.cllora_paper.skew import QUANTITY, settings_of


@claims.register(
    "paper/e",
    label="e",
    title="quantity skew hurts local training and the global model",
    metrics={
        "local per token": "matched_change",
        "local per text": "matched_change_per_sample",
        **{f"global {weighting}": metric for weighting, metric in GLOBAL_LOSS.items()},
    },
    rule="raises",
    computed="loss, skewed minus control: clients' own adapters on global test texts of the classes that they hold, "
    "against the base; and the global model, mean of the last half of the rounds",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def quantity_hurts(results: Results) -> Sequence[Contrast]:
    """Quantity skew raises both the local and the global loss."""
    return contrasts_of(settings_of(results, QUANTITY, strong))


@claims.register(
    "paper/f",
    label="f",
    title="under quantity skew clients with much data over-fit early, and those with little under-learn",
    metrics={"much data": overfits_early, "little data": under_learns},
    rule="raises",
    computed="what local training adds to the loss on the global test texts: of clients with more than an even share, "
    "in the first half of the rounds, minus the control's clients in the same rounds; and of those with less, minus "
    "the control's same client in the same round",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def much_data_overfits_and_little_under_learns(results: Results) -> Evidence:
    """Under quantity skew the local training of clients with much data raises the test loss more than even clients'
    does, early on; clients with little gain less from it than the same clients in the same rounds of the control. A run
    is one number, however many turns it has; one in which no client with much data was chosen early has none."""
    settings = settings_of(results, QUANTITY, strong)
    runs = [run for setting in settings for run, _ in setting.pairs]
    much, little = (sum(early_overfitted(run, much) for run in runs) for much in (True, False))
    without = sum(early_turns_of_large(run).empty for run in runs)
    chance = f"; in {without} of {len(runs)} skewed runs no client with much data was chosen early" if without else ""
    remark = f"early over-fitting by rule: {much} clients with much data, {little} with little{chance}"
    return Evidence(contrasts_of(settings), remark=f"{remark}; at fixed epochs few texts are few steps")


@claims.register(
    "paper/g",
    label="g",
    title="fairness collapses under quantity skew below alpha 1",
    metrics="local_spread",
    rule="raises",
    computed="standard deviation over trained clients of the loss of their own adapters minus the global model's of "
    "the same round, on the global test set, skewed minus control",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def fairness_collapses(results: Results) -> Evidence:
    """Below alpha 1 of quantity, clients' own adapters differ more in what they are worth on the same texts. Under the
    global model contents that are dealt at random have no unfairness to show."""
    settings = settings_of(results, QUANTITY, lambda alpha: alpha < 1)
    collapsed = marked(settings, lambda run: len(fairness_collapse(run.tables.clients)) > 0)
    return Evidence(contrasts_of(settings), remark=f"collapse marked in {collapsed}")
