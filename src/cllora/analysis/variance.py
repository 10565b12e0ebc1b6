"""The sources of the spread of a study's primary differences over seeds, and what would make it smaller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cllora.analysis.pairing import control_values
from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.metrics.curves import is_late
from cllora.metrics.matched import same_test
from cllora.stats import Differences, components

Pair = tuple[Run, Run]
"""A run and its control."""


@dataclass(frozen=True)
class Spread:
    """The spread of `late_loss` against the control over seeds, of one comparison, and its sources.

    sd: the standard deviation of the differences (nats per token).
    texts, rounds, rest: shares of its square, see `cllora.stats.Components`.
    test_texts, late_rounds: of which a difference is the mean.
    same_texts: whether all seeds have the same test texts, which are no source then.
    evaluation: its share of the runs' time.
    every_round: whether every round is evaluated.
    """

    cell: str
    control: str
    seeds: int
    sd: float
    texts: float
    rounds: float
    rest: float
    test_texts: int
    late_rounds: int
    same_texts: bool
    evaluation: float
    every_round: bool

    @property
    def prices(self) -> dict[str, float]:
        """The variance with twice as many of something times the time that a run would take, over what both are now.
        With twice as many seeds it is 1: what is below that is the better buy."""
        time, rounds = 1 + self.evaluation, {"evaluated rounds": self.rounds}
        bought = {"test texts": self.texts, **({} if self.every_round else rounds)}
        return {"seeds": 1.0, **{name: (1 - share / 2) * time for name, share in bought.items()}}


def variance(results: Results) -> list[Spread]:
    """The spread of every comparison of two pairs of runs or more."""
    return [_spread(results, pairs) for pairs in _pairs(results)]


def _spread(results: Results, pairs: Sequence[Pair]) -> Spread:
    seeds = [_differences(run, control) for run, control in pairs]
    same_texts = all(same_test(other, pairs[0][0]) for other, _ in pairs)
    parts = components(seeds, same_texts)
    texts, rounds, rest = parts.shares
    run, control = pairs[0]
    return Spread(
        cell=results.cell(run.labels),
        control=results.cell(control.labels),
        seeds=len(pairs),
        sd=parts.total**0.5,
        texts=texts,
        rounds=rounds,
        rest=rest,
        test_texts=len(seeds[0].tokens),
        late_rounds=len(seeds[0].nll),
        same_texts=same_texts,
        evaluation=float(np.mean([_evaluation(member) for pair in pairs for member in pair])),
        every_round=run.experiment.evaluation.every == 1,
    )


def _pairs(results: Results) -> list[list[Pair]]:
    """The pairs of runs of every comparison, by the rule of `contrasts`: those with late losses in the same rounds, on
    the same texts."""
    rows = results.averaged[~results.averaged["cell"].isin(results.leaking)].reset_index(drop=True)
    runs = {(results.cell(run.labels), run.seed): run for run in results.members}
    every = [runs[key] for key in zip(rows["cell"], rows["seed"], strict=True)]
    partners = control_values(rows.assign(row=rows.index), list(results.axes), results.control, "row").dropna()
    pairs: dict[str, list[Pair]] = {}
    for row, partner in zip(partners.index.tolist(), partners.astype(int).tolist(), strict=True):
        run, control = every[row], every[partner]
        if run is not control and same_test(run, control) and _late_rounds(run) == _late_rounds(control):
            pairs.setdefault(results.cell(run.labels), []).append((run, control))
    return [of_cell for of_cell in pairs.values() if len(of_cell) > 1]


def _late_rounds(run: Run) -> list[int]:
    rounds = run.tables.curve["round"]
    late: list[int] = rounds[is_late(rounds)].tolist()
    return late


def _late(run: Run) -> pd.DataFrame:
    """The losses of global test texts in the rounds of which `late_loss` is the mean, in order."""
    texts = run.tables.texts.sort_values(["round", "sample"])
    return texts[is_late(texts["round"])]


def _differences(run: Run, control: Run) -> Differences:
    own, other = _late(run), _late(control)
    rounds = own["round"].nunique()
    nll = (own["nll"].to_numpy() - other["nll"].to_numpy()).reshape(rounds, -1)
    return Differences(nll, own["tokens"].to_numpy(float)[: nll.shape[1]])


def _evaluation(run: Run) -> float:
    """The share of a run's time that is not local training."""
    return 1 - run.outcome["training_seconds"] / run.outcome["seconds"] if run.outcome["seconds"] else np.nan
