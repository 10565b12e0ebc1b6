"""Names of features and their classes, and the experiments that leak."""

from collections.abc import Sequence

from cllora.corpus import features
from cllora.model.patterns import pattern_of, patterns
from cllora.spec import Choice, Experiment
from cllora.types import Partition, TextClass


def feature_text(choice: Choice, residual_on: str | None = None) -> str:
    """A feature with all its options, also those that were left at their defaults: `length in characters`.

    With `residual_on` it is the text's place, 0 to 1, among those that are alike in that.
    """
    defaults = features.options(choice.name) if choice.name in features.names() else {}
    options = {**{key: option.default for key, option in defaults.items()}, **choice.options}
    unit = options.pop("unit", None)
    settings = ", ".join(f"{key} = {value}" for key, value in options.items())
    alike = f", place among texts of its {residual_on}" if residual_on else ""
    return f"{choice.name}{f' in {unit}' if unit else ''}{f' ({settings})' if settings else ''}{alike}"


LEAKS = "leaks: not comparable"


def leaks(experiment: Experiment) -> bool:
    """Whether tokens see later ones of their text under one of the experiment's patterns of attention."""
    context = experiment.model.context
    return any(
        pattern_of(choice, context).leaks(context)
        for choice in (experiment.model.attention, experiment.evaluation.pattern)
        if choice.name in patterns.names()
    )


def range_text(described: TextClass) -> str:
    """The range of a class: `from_` belongs to it, `below` no more."""
    low, below = _short(described.from_), _short(described.below)
    if low is None or below is None:
        return f"below {below}" if below is not None else f"from {low}" if low is not None else "all texts"
    return f"{low} to {below}"


def _short(x: float | None) -> str | None:
    if x is None:
        return None
    return f"{x:.0f}" if x == round(x) else f"{x:.4g}"


def class_names(partitions: Sequence[Partition]) -> list[str]:
    """The classes' ranges if all partitions cut the feature at the same points; else their numbers.

    Every seed that draws its own test set cuts its own pool, so that the first's ranges would be wrong of the others.
    """
    described = [() if partition.measured is None else partition.measured.classes.described for partition in partitions]
    ranges = [[range_text(class_) for class_ in classes] for classes in described]
    if ranges[0] and ranges.count(ranges[0]) == len(ranges):
        return ranges[0]
    counts = [0 if partition.class_of is None else int(partition.class_of.max()) + 1 for partition in partitions]
    names = [f"class {c + 1}" for c in range(max(counts))]
    if len(names) > 1:
        names[0] += " (smallest)"
        names[-1] += " (largest)" if len(set(counts)) == 1 else ""
    return names or ["all texts"]
