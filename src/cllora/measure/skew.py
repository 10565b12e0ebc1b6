"""Which runs are skewed in what, and which run is each one's control: read off the experiments, not off their names."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cllora.corpus import is_length
from cllora.metrics.losses import Tables
from cllora.spec import Experiment, PartitionSpec
from cllora.types import Partition

ALPHAS: dict[str, dict[str, Any]] = {
    "client_mix": {"alpha": 1.0, "and_alpha": "iid", "quantity_alpha": "iid"},
    "quantity": {"alpha": 1.0},
    "iid": {},
}
"""The options of partitioners that say how strong a skew is, with their defaults. Other schemes mix skews."""

NONE, LENGTH, QUANTITY, OTHER = "none", "length", "quantity", "other"


@dataclass(frozen=True)
class Case:
    """One run, as far as claims are judged by it.

    cell: what its setting is called, the same over seeds. finished: whether it came to its last round. fingerprint: of
    its data. parameters: how many the base has (NaN if that is not known). rounds: the objects of `rounds.jsonl`.
    """

    cell: str
    experiment: Experiment
    finished: bool
    fingerprint: str
    parameters: float
    partition: Partition
    rounds: Sequence[Mapping[str, Any]]
    tables: Tables
    outcome: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """A skewed cell and its control, which differ in the skew alone.

    pairs: their finished runs of equal seed on the same data, (skewed, control). cells: what both are called.
    """

    cells: tuple[str, ...]
    case: Case
    pairs: tuple[tuple[Case, Case], ...]


def skew_of(asked: PartitionSpec) -> tuple[str, float]:
    """What is skewed, and its alpha (infinite without a skew): `none`, `length`, `quantity`, or `other`.

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


def settings_of(cases: Sequence[Case], kind: str, strong: Callable[[float], bool]) -> list[Setting]:
    """Every setting with a skew of this kind, at its lowest alpha, if that is `strong`; in the order of the cases.

    A setting is all of an experiment but its seed and the alphas. The control has the same with no skew, or else deals
    by the scheme `iid`. Without any run of a control a setting is left out.
    """
    found: dict[str, list[Case]] = {}
    for case in cases:
        if skew_of(case.experiment.partition)[0] == kind:
            found.setdefault(setting_key(case.experiment), []).append(case)
    controls = _controls(cases)
    made = []
    for key, members in found.items():
        lowest = min(skew_of(case.experiment.partition)[1] for case in members)
        skewed = [case for case in members if skew_of(case.experiment.partition)[1] == lowest]
        of_key = controls.get(key) or controls.get(_scheme_free(skewed[0].experiment), {})
        if strong(lowest) and of_key:
            cells = dict.fromkeys([skewed[0].cell, *(control.cell for control in of_key.values())])
            made.append(Setting(tuple(cells), skewed[0], tuple(_pairs(skewed, of_key))))
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


def _controls(cases: Sequence[Case]) -> dict[str, dict[int, Case]]:
    """The unskewed cases by setting and seed."""
    found: dict[str, dict[int, Case]] = {}
    for case in cases:
        if skew_of(case.experiment.partition)[0] == NONE:
            iid = case.experiment.partition.scheme == "iid"
            key = _scheme_free(case.experiment) if iid else setting_key(case.experiment)
            found.setdefault(key, {})[case.experiment.seed] = case
    return found


def _pairs(skewed: Sequence[Case], controls: Mapping[int, Case]) -> list[tuple[Case, Case]]:
    pairs = [(case, controls.get(case.experiment.seed)) for case in skewed]
    return [
        (case, control)
        for case, control in pairs
        if control and case.finished and control.finished and case.fingerprint == control.fingerprint
    ]
