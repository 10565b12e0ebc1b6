"""The claims of the paper (CLLoRA, arXiv 2502.18910) and one question that it leaves open.

Claims are of the strongest skew that a study has, and are held to every setting (model, context, rank, ...) in which it
has it. The rules, with their formulas and margins, stand in docs/method.md.
"""

import math
from collections.abc import Callable, Sequence

from cllora.analysis import Results, Run
from cllora.claims import Contrast, Evidence, Source, claims, difference
from cllora.metrics import SHARE
from cllora.metrics.signatures import fairness_collapse, global_oscillation
from cllora.presets import pretraining_tokens
from cllora.studies.cllora_paper.measures import (
    TEN,
    early_overfitted,
    global_minus_local,
    loss_after_ten,
    overfits_early,
    share_cut,
    under_learns,
)
from cllora.studies.cllora_paper.skew import LENGTH, QUANTITY, Setting, setting_key, settings_of

SAVED = 0.999
"""The share of the communication that the paper says is saved."""
PAPER_RANK = 2
SMALLEST_OF_PAPER = 125_239_296
"""Parameters of OPT-125M, the smallest model of the paper."""
FEW_CUT = 0.05
"""The share of texts that a context may cut and still pass for one that cuts none."""

PAPER = Source(
    title="The paper's claims",
    counted="the paper's 12 claims and the question that it leaves open",
    note="The claims of the paper that this study tests, and the question (i) that it leaves open, each at the "
    "strongest skew that it has, in every setting.",
)
GLOBAL_LOSS = {"per token": "late_loss", "per text": "late_loss_per_sample"}
"""The global loss under both weightings of texts: the one that training minimises depends on the skew."""
LENGTH_STUDY, QUANTITY_STUDY = "paper/length", "paper/quantity"


def _strong(alpha: float) -> bool:
    """Alpha 1, the paper's second lowest, or below: higher ones are nearly even."""
    return alpha <= 1


@claims.register(
    "paper/a",
    label="a",
    title="length skew barely touches local training",
    metrics={"per token": "matched_change", "per text": "matched_change_per_sample"},
    rule="barely",
    computed="loss of the global test texts under adapters of clients that hold texts of their class, minus the base's, "
    "skewed minus control",
    source=PAPER,
    run=LENGTH_STUDY,
)
def local_training_withstands_length(results: Results) -> Sequence[Contrast]:
    """Length skew barely touches local training: `matched_change` is equivalent within the margin, whether tokens count
    once or texts."""
    return _contrasts(settings_of(results, LENGTH, _strong))


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
    return _contrasts(settings_of(results, LENGTH, _strong))


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
    sizes = _sizes(settings)
    if settings and not _unknown(sizes) and min(sizes.values()) > 2 * SMALLEST_OF_PAPER:
        return Evidence(not_applicable="the study has no small model: the paper's has 125 million parameters")
    if len(sizes) > 1:
        smallest = min(sizes, key=lambda name: sizes[name])
        settings = (
            []
            if _unknown(sizes)
            else [setting for setting in settings if setting.run.experiment.model.name == smallest]
        )
    marked = _marked(settings, lambda run: len(global_oscillation(run.tables.curve)) > 0)
    return Evidence(_contrasts(settings), remark=f"swings marked in {marked}")


@claims.register(
    "paper/d",
    label="d",
    title="larger models are more robust to length skew",
    metrics=GLOBAL_LOSS,
    rule="lowers",
    computed="what skew adds to the global loss, mean of the last half of the rounds, at the largest model minus at the "
    "smallest",
    source=PAPER,
    run=LENGTH_STUDY,
)
def larger_models_are_more_robust(results: Results) -> Evidence:
    """The effect of length skew on the global loss is lower at the largest model than at the smallest."""
    settings = settings_of(results, LENGTH, _strong)
    sizes = _sizes(settings)
    if not sizes:
        return Evidence()
    if _unknown(sizes):
        return Evidence(lacking="one model only" if len(sizes) == 1 else "models of unknown or equal size")
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


@claims.register(
    "paper/e",
    label="e",
    title="quantity skew hurts local training and the global model",
    metrics={
        "local, per token": "matched_change",
        "local, per text": "matched_change_per_sample",
        "global, per token": "late_loss",
        "global, per text": "late_loss_per_sample",
    },
    rule="raises",
    computed="loss, skewed minus control: clients' own adapters on global test texts of the classes that they hold, "
    "against the base; and the global model, mean of the last half of the rounds",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def quantity_hurts(results: Results) -> Sequence[Contrast]:
    """Quantity skew raises both the local and the global loss."""
    return _contrasts(settings_of(results, QUANTITY, _strong))


@claims.register(
    "paper/f",
    label="f",
    title="under quantity skew clients with much data over-fit early, and those with little under-learn",
    metrics={"much data": overfits_early, "little data": under_learns},
    rule="raises",
    computed="what local training adds to the loss on the global test texts: of clients with more than an even share, "
    "in the first half of the rounds, minus the control's clients in the same rounds; and of those with less, minus the "
    "control's same client in the same round",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def much_data_overfits_and_little_under_learns(results: Results) -> Evidence:
    """Under quantity skew the local training of clients with much data raises the test loss more than even clients' does,
    early on; clients with little gain less from it than the same clients in the same rounds of the control. A run is
    one number, however many turns it has; one in which no client with much data was chosen early has none."""
    settings = settings_of(results, QUANTITY, _strong)
    runs = [run for setting in settings for run, _ in setting.pairs]
    much, little = (sum(early_overfitted(run, much) for run in runs) for much in (True, False))
    remark = f"early over-fitting by rule: {much} clients with much data, {little} with little"
    return Evidence(_contrasts(settings), remark=f"{remark}; at fixed epochs few texts are few steps")


@claims.register(
    "paper/g",
    label="g",
    title="fairness collapses under quantity skew below alpha 1",
    metrics="local_spread",
    rule="raises",
    computed="standard deviation over trained clients of the loss of their own adapters minus the global model's of the "
    "same round, on the global test set, skewed minus control",
    source=PAPER,
    run=QUANTITY_STUDY,
)
def fairness_collapses(results: Results) -> Evidence:
    """Below alpha 1 of quantity, clients' own adapters differ more in what they are worth on the same texts. Under the
    global model contents that are dealt at random have no unfairness to show."""
    settings = settings_of(results, QUANTITY, lambda alpha: alpha < 1)
    marked = _marked(settings, lambda run: len(fairness_collapse(run.tables.clients)) > 0)
    return Evidence(_contrasts(settings), remark=f"collapse marked in {marked}")


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
    """One minus bytes sent over bytes of the whole base as often, at the paper's rank: no seeds, no interval."""
    runs = [run for run in results.members if run.experiment.lora.r == PAPER_RANK]
    runs = [run for run in runs if not math.isnan(run.outcome["saved"])]
    if not runs:
        return Evidence(lacking=f"nothing was sent at rank {PAPER_RANK}")
    models: dict[str, list[Run]] = {}
    for run in runs:
        models.setdefault(run.experiment.model.name, []).append(run)
    contrasts = [
        Contrast(model, [(run,) for run in same], tuple(dict.fromkeys(results.cell(run.labels) for run in same)))
        for model, same in models.items()
    ]
    largest = max(parameters(run) for run in runs)
    if largest < SMALLEST_OF_PAPER / 2:
        size = f"{largest / 1e6:.1f} million parameters, the paper's smallest has 125 million"
        return Evidence(not_applicable=f"what is saved is a matter of size: {size}")
    return Evidence(contrasts)


@claims.register(
    "paper/i",
    label="i",
    title="the effect of length skew on the global model persists where texts are not cut (our question, which the "
    "paper leaves open)",
    metrics=GLOBAL_LOSS,
    rule="touches",
    computed="global loss, mean of the last half of the rounds, skewed minus control, at the longest context, which "
    "decides; and that minus the same at the shortest",
    source=PAPER,
    run="ablate/context",
)
def the_effect_persists_where_texts_are_whole(results: Results) -> Evidence:
    """Length skew touches the global model at the longest of several contexts, if that cuts next to no text; beside
    it, how much its effect there differs from that at the shortest."""
    alike: dict[str, list[Setting]] = {}
    for setting in settings_of(results, LENGTH, _strong):
        key = setting_key(setting.run.experiment, "model.context", "model.positions")
        alike.setdefault(key, []).append(setting)
    several = [sorted(settings, key=_context) for settings in alike.values()]
    every = [setting for settings in several for setting in settings]
    cut = dict.fromkeys(f"{100 * share_cut(setting.run):.1f} % at {_context(setting)}" for setting in every)
    share_cut_texts = f"texts cut: {', '.join(cut)}"
    ends = [(settings[0], _longest(settings)) for settings in several if len(settings) > 1]
    whole = [(short, long) for short, long in ends if share_cut(long.run) <= FEW_CUT]
    if not whole:
        lacking = (
            f"no context that cuts at most {100 * FEW_CUT:g} % ({share_cut_texts})" if ends else "no axis over contexts"
        )
        return Evidence(lacking=lacking)
    beside = [difference(long.contrast, short.contrast) for short, long in whole]
    return Evidence(_contrasts([long for _, long in whole]), beside, share_cut_texts)


@claims.register(
    "paper/j",
    label="j",
    title="length skew hits the global model more than local training",
    metrics={"per token": global_minus_local},
    rule="raises",
    computed="what skew adds to the loss of the global model, minus what it adds to that of clients' own adapters on texts "
    "like theirs",
    source=PAPER,
    run=LENGTH_STUDY,
)
def length_hits_the_global_model_more(results: Results) -> Sequence[Contrast]:
    """The effect of length skew on the global model minus that on local training, by seed: two verdicts are no
    comparison."""
    return _contrasts(settings_of(results, LENGTH, _strong))


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
    return _contrasts(settings_of(results, LENGTH, _strong))


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
    settings = settings_of(results, LENGTH, _strong)
    sizes = _sizes(settings)
    if not sizes:
        return Evidence()
    if _unknown(sizes):
        return Evidence(lacking="one model only" if len(sizes) == 1 else "models of unknown or equal size")
    largest = max(sizes, key=lambda name: sizes[name])
    return Evidence(_contrasts([setting for setting in settings if setting.run.experiment.model.name == largest]))


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
    settings = [setting for kind in (LENGTH, QUANTITY) for setting in settings_of(results, kind, _strong)]
    if settings and all(setting.run.experiment.federation.num_rounds < TEN for setting in settings):
        return Evidence(not_applicable="the study has fewer than ten rounds")
    return Evidence(_contrasts(settings))


def parameters(run: Run) -> float:
    """The number of parameters of the run's base; NaN if it is not known."""
    return float(run.environment.communication.full_parameters or math.nan)


def _contrasts(settings: Sequence[Setting]) -> list[Contrast]:
    return [setting.contrast for setting in settings]


def _sizes(settings: Sequence[Setting]) -> dict[str, float]:
    """Parameters by model."""
    return {setting.run.experiment.model.name: parameters(setting.run) for setting in settings}


def _marked(settings: Sequence[Setting], fails: Callable[[Run], bool]) -> str:
    pairs = [pair for setting in settings for pair in setting.pairs]
    skewed, control = (sum(fails(pair[i]) for pair in pairs) for i in (0, 1))
    return f"{skewed} of {len(pairs)} skewed runs and {control} of their controls"


def _context(setting: Setting) -> int:
    return setting.run.experiment.model.context


def _longest(settings: Sequence[Setting]) -> Setting:
    return max(settings, key=_context)


def _pretrained_unlike(sizes: dict[str, float]) -> str:
    """Why models cannot be compared by size, where they are the package's own and saw unlike amounts of text before; or
    nothing."""
    seen = {name: tokens for name in sizes if (tokens := pretraining_tokens(name)) is not None}
    if len(set(seen.values())) < 2:
        return ""
    least, most = min(seen.values()) / 1e6, max(seen.values()) / 1e6
    return f"the bases were pretrained on {least:.1f} to {most:.1f} million tokens: their sizes cannot be compared"


def _unknown(sizes: dict[str, float]) -> bool:
    """Whether sizes are missing or all the same."""
    return any(math.isnan(size) for size in sizes.values()) or len(set(sizes.values())) < 2
