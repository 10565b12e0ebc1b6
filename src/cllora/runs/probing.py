"""The probes of a run: at each round those whose moment it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cllora.errors import UsageError
from cllora.federated import Federation, global_models
from cllora.probes import Moment, measure, probes
from cllora.seeds import rng
from cllora.types import Ids, Round

TEXTS = 64
"""Texts of the global test set that probes measure on."""


@dataclass(frozen=True)
class Probing:
    """The probes of one run, with the federation that they measure."""

    federation: Federation

    def __post_init__(self) -> None:
        """Refuse a probe of one global model where the strategy has several."""
        federation = self.federation
        start = federation.strategy.start(federation.learner.initial(federation.experiment.chance))
        several = len(global_models(federation.strategy, start))
        for probe in federation.experiment.evaluation.asked:
            if several > 1 and probes.facts(probe.name).models == "one":
                raise UsageError(
                    f"the probe {probe.name} measures one global model, and the strategy "
                    f"{federation.experiment.federation.strategy.name} has {several}; leave it out"
                )

    @cached_property
    def texts(self) -> Ids:
        """A few texts of the global test set, the same in all cells that are tested on the same texts; sorted."""
        tested = self.federation.partition.global_test
        draw = rng(self.federation.experiment.seed, "closing")  # The name is that of 0.1.0, so that the texts are too.
        return np.sort(draw.choice(tested, min(TEXTS, len(tested)), replace=False))

    def tables(self, after: Round) -> Iterator[tuple[str, pd.DataFrame]]:
        """The name and the table of every probe that measures after this round.

        Raises:
            UsageError: a probe gave no table.
        """
        experiment = self.federation.experiment
        last = after.number == experiment.federation.num_rounds
        moment = self._moment(after)
        for probe in experiment.evaluation.asked:
            if last or probes.facts(probe.name).when == "round":
                yield probe.name, measure(probe.name, probe.options, self.federation.learner, moment)

    def _moment(self, after: Round) -> Moment:
        experiment, engine = self.federation.experiment, self.federation.learner
        return Moment(
            round=after.number,
            models=global_models(self.federation.strategy, after.state),
            participants=after.participants,
            texts=self.texts,
            partition=self.federation.partition,
            layout=engine.layout,
            seed=experiment.seed,
            make_initial=lambda: engine.initial(experiment.chance),
        )
