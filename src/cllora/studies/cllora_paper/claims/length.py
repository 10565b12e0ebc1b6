"""The paper's claims on length skew, at every size of model: what it does to local training and to the global model."""

from collections.abc import Mapping, Sequence

from cllora.analysis import Results
from cllora.claims import Contrast, Evidence, claims, difference
from cllora.metrics.signatures import global_oscillation
from cllora.presets import pretraining_tokens
from cllora.studies.cllora_paper.claims.evidence import (
    GLOBAL_LOSS,
    LENGTH_STUDY,
    PAPER,
    SMALLEST_OF_PAPER,
    cannot_be_ordered,
    contrasts_of,
    marked,
    of_model,
    sizes_of,
    strong,
)
from cllora.studies.cllora_paper.skew import LENGTH, Setting, setting_key, settings_of


@claims.register(
    "paper/a",
    label="a",
    title="length skew barely touches local training",
    metrics={"per token": "matched_change", "per text": "matched_change_per_sample"},
    rule="barely",
    computed="loss of the global test texts under adapters of clients that hold texts of their class, minus the "
    "base's, skewed minus control",
    source=PAPER,
    run=LENGTH_STUDY,
)
def local_training_withstands_length(results: Results) -> Sequence[Contrast]:
    """Length skew barely touches local training: `matched_change` is equivalent within the margin, whether tokens count
    once or texts."""
    return contrasts_of(settings_of(results, LENGTH, strong))


@claims.register(
    "paper/b",
    label="b",
    title="length skew does touch the global model",
    metrics=GLOBAL_LOSS,
    rule="touches",
    computed="global loss, mean of the last half of the rounds, skewed minus control",
    source=PAPER,
    run=LENGTH_STUDY,
)
def length_touches_the_global_model(results: Results) -> Sequence[Contrast]:
    """Length skew does touch the global model: the global loss differs, either way, and not within the margin; whether
    tokens count once or texts, as skew shifts what is trained from the one to the other."""
    return contrasts_of(settings_of(results, LENGTH, strong))


@claims.register(
    "paper/c",
    label="c",
    title="at alpha 0.1 of length the small model's global loss oscillates",
    metrics="oscillation_ratio",
    rule="raises",
    computed="logarithm of the oscillation of the global loss over the control's, at the smallest model",
    source=PAPER,
    run=LENGTH_STUDY,
)
def the_small_model_oscillates(results: Results) -> Evidence:
    """At alpha 0.1 (or lower) of length the smallest model's oscillation is higher than its control's."""
    settings = settings_of(results, LENGTH, lambda alpha: alpha <= 0.1)
    sizes = sizes_of(settings)
    if len(sizes) > 1 and (lacking := cannot_be_ordered(sizes)):
        return Evidence(lacking=lacking)
    if sizes and min(sizes.values()) > 2 * SMALLEST_OF_PAPER:
        return Evidence(not_applicable="the study has no small model: the paper's has 125 million parameters")
    if sizes:
        settings = of_model(settings, min(sizes, key=lambda name: sizes[name]))
    swings = marked(settings, lambda run: len(global_oscillation(run.tables.curve)) > 0)
    return Evidence(contrasts_of(settings), remark=f"swings marked in {swings}")


@claims.register(
    "paper/d",
    label="d",
    title="larger models are more robust to length skew",
    metrics=GLOBAL_LOSS,
    rule="lowers",
    computed="what skew adds to the global loss, mean of the last half of the rounds, at the largest model minus at "
    "the smallest",
    source=PAPER,
    run=LENGTH_STUDY,
)
def larger_models_are_more_robust(results: Results) -> Evidence:
    """The effect of length skew on the global loss is lower at the largest model than at the smallest."""
    settings = settings_of(results, LENGTH, strong)
    sizes = sizes_of(settings)
    if not sizes:
        return Evidence()
    if lacking := cannot_be_ordered(sizes):
        return Evidence(lacking=lacking)
    if pretrained := _pretrained_unlike(sizes):
        return Evidence(not_applicable=pretrained)
    small, large = (pick(sizes, key=lambda name: sizes[name]) for pick in (min, max))
    alike: dict[str, dict[str, Setting]] = {}
    for setting in settings:
        key = setting_key(setting.run.experiment, "model.name", "local.epochs")
        alike.setdefault(key, {})[setting.run.experiment.model.name] = setting
    both = [(models[small], models[large]) for models in alike.values() if small in models and large in models]
    apart = any(s.run.experiment.local.epochs != g.run.experiment.local.epochs for s, g in both)
    remark = "the models differ in local epochs too" if apart else ""
    return Evidence([difference(larger.contrast, smaller.contrast) for smaller, larger in both], remark=remark)


def _pretrained_unlike(sizes: Mapping[str, float]) -> str:
    """The reason why models cannot be compared by size, where they are the package's own and saw unlike amounts of text
    before; or nothing."""
    seen = {name: tokens for name in sizes if (tokens := pretraining_tokens(name)) is not None}
    if len(set(seen.values())) < 2:
        return ""
    least, most = min(seen.values()) / 1e6, max(seen.values()) / 1e6
    return f"the bases were pretrained on {least:.1f} to {most:.1f} million tokens: their sizes cannot be compared"
