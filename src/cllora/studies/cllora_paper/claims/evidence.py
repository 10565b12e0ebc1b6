"""The source of the paper's claims, the skew that is strong enough for them, and the models they are of."""

import math
from collections.abc import Callable, Mapping, Sequence

from cllora.analysis import Run
from cllora.claims import Contrast, Source
from cllora.spec import PRIMARY
from cllora.studies.cllora_paper.skew import Setting

SMALLEST_OF_PAPER = 125_239_296
"""Parameters of OPT-125M, the smallest model of the paper."""
LENGTH_STUDY, QUANTITY_STUDY = "paper/length", "paper/quantity"

PAPER = Source(
    title="The paper's claims",
    counted="the paper's 12 claims and the question that it leaves open",
    note="The claims of the paper that this study tests, and the question (i) that it leaves open, each at the "
    "strongest skew that it has, in every setting.",
)
GLOBAL_LOSS = {"per token": PRIMARY, "per text": f"{PRIMARY}_per_sample"}
"""The global loss under both weightings of texts: the one that training minimises depends on the skew."""


def strong(alpha: float) -> bool:
    """Alpha 1, the paper's second lowest, or below: higher ones are nearly even."""
    return alpha <= 1


def contrasts_of(settings: Sequence[Setting]) -> list[Contrast]:
    return [setting.contrast for setting in settings]


def parameters(run: Run) -> float:
    """The number of parameters of the run's base; NaN if it is not known."""
    return float(run.environment.communication.full_parameters or math.nan)


def sizes_of(settings: Sequence[Setting]) -> dict[str, float]:
    """Parameters by model."""
    return {setting.run.experiment.model.name: parameters(setting.run) for setting in settings}


def cannot_be_ordered(sizes: Mapping[str, float]) -> str:
    """The reason why models cannot be told apart by their size; or nothing."""
    if len(sizes) == 1:
        return "one model only"
    unknown = any(math.isnan(size) for size in sizes.values()) or len(set(sizes.values())) < 2
    return "models of unknown or equal size" if unknown else ""


def of_model(settings: Sequence[Setting], name: str) -> list[Setting]:
    return [setting for setting in settings if setting.run.experiment.model.name == name]


def marked(settings: Sequence[Setting], fails: Callable[[Run], bool]) -> str:
    """The number of runs that a rule marks, and of their controls, in words."""
    pairs = [pair for setting in settings for pair in setting.pairs]
    skewed, control = (sum(fails(pair[i]) for pair in pairs) for i in (0, 1))
    return f"{skewed} of {len(pairs)} skewed runs and {control} of their controls"
