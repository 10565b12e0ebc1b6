"""The skew of every run and its control: read off the experiments, not off their names."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cllora.analysis import Results, Run
from cllora.claims import Contrast, paired
from cllora.corpus import is_length
from cllora.spec import Experiment, PartitionSpec

ALPHAS: Mapping[str, Mapping[str, float | str]] = {
    "client_mix": {"alpha": 1.0, "and_alpha": "iid", "quantity_alpha": "iid"},
    "quantity": {"alpha": 1.0},
    "iid": {},
}
"""The options of partitioners that say how strong a skew is, with their defaults. Other schemes mix skews."""

NONE, LENGTH, QUANTITY, OTHER = "none", "length", "quantity", "other"


@dataclass(frozen=True)
class Setting:
    """A skewed cell and its control, which differ in the skew alone.

    cells: what both are called. run: one of the skewed runs. pairs: their finished runs of equal seed on the same data,
    (skewed, control).
    """

    cells: tuple[str, ...]
    run: Run
    pairs: tuple[tuple[Run, Run], ...]

    @property
    def contrast(self) -> Contrast:
        return Contrast(self.cells[0], self.pairs, self.cells)


def skew_of(asked: PartitionSpec) -> tuple[str, float]:
    """The skewed factor, and its alpha (infinite without a skew): `none`, `length`, `quantity`, or `other`.

    Length: `client_mix` of classes by `length` or `seen_tokens` alone, not as residuals. Quantity: `quantity`, or
    `client_mix` with a `quantity_alpha` alone. Any other feature, scheme, or two skews at once is `other`.
    """
    if asked.scheme not in ALPHAS:
        return OTHER, math.nan
    alphas = {name: asked.options.get(name, default) for name, default in ALPHAS[asked.scheme].items()}
    drawn = {name: float(alpha) for name, alpha in alphas.items() if alpha != "iid"}
    if not drawn:
        return NONE, math.inf
    (name, alpha), *more = drawn.items()
    if more:
        return OTHER, math.nan
    if asked.scheme == "quantity" or name == "quantity_alpha":
        return QUANTITY, alpha
    by_length = is_length(asked.by.name) and asked.residual_on is None
    return (LENGTH, alpha) if name == "alpha" and by_length else (OTHER, alpha)


def settings_of(results: Results, kind: str, strong: Callable[[float], bool]) -> list[Setting]:
    """Every setting with a skew of this kind, at its lowest alpha, if that is `strong`; in the order of the runs.

    A setting is all of an experiment but its seed and the alphas. The control has the same with no skew, or else deals
    by the scheme `iid`. Without any run of a control a setting is left out.
    """
    members: dict[str, list[Run]] = {}
    for run in results.members:
        if skew_of(run.experiment.partition)[0] == kind:
            members.setdefault(setting_key(run.experiment), []).append(run)
    controls = _controls(results.members)
    made = []
    for key, runs in members.items():
        lowest = min(skew_of(run.experiment.partition)[1] for run in runs)
        skewed = [run for run in runs if skew_of(run.experiment.partition)[1] == lowest]
        of_key = controls.get(key) or controls.get(_scheme_free(skewed[0].experiment), [])
        if strong(lowest) and of_key:
            cells = dict.fromkeys(results.cell(run.labels) for run in (skewed[0], *of_key))
            made.append(Setting(tuple(cells), skewed[0], tuple(paired(skewed, of_key))))
    return made


def setting_key(experiment: Experiment, *without: str) -> str:
    """All of an experiment but its seed, its alphas and the fields `section.field` in `without`."""
    fields = experiment.model_dump(mode="json", exclude={"seed"})
    for name in ALPHAS.get(experiment.partition.scheme, {}):
        fields["partition"].pop(name, None)
    for path in without:
        section, field = path.split(".")
        fields[section].pop(field, None)
    return json.dumps(fields, sort_keys=True)


def _scheme_free(experiment: Experiment) -> str:
    """`setting_key` without the scheme and its options, for controls that deal by `iid`."""
    options = [f"partition.{name}" for name in experiment.partition.options]
    return setting_key(experiment, "partition.scheme", *options)


def _controls(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The unskewed runs by setting."""
    controls: dict[str, list[Run]] = {}
    for run in runs:
        if skew_of(run.experiment.partition)[0] == NONE:
            iid = run.experiment.partition.scheme == "iid"
            key = _scheme_free(run.experiment) if iid else setting_key(run.experiment)
            controls.setdefault(key, []).append(run)
    return controls
