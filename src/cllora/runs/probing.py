"""The probes of a run: at each round those whose moment it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cllora.model.engine import Engine
from cllora.probes import Moment, measure, probes
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.types import Ids, Partition, Round

TEXTS = 64
"""Texts of the global test set that probes measure on."""


@dataclass(frozen=True)
class Probing:
    """What the probes of one run have in common."""

    experiment: Experiment
    partition: Partition
    engine: Engine

    @cached_property
    def texts(self) -> Ids:
        """A few texts of the global test set, the same in all cells that are tested on the same texts; sorted."""
        tested = self.partition.global_test
        draw = rng(self.experiment.seed, "closing")  # The name is that of 0.1.0, so that the texts are too.
        return np.sort(draw.choice(tested, min(TEXTS, len(tested)), replace=False))

    def tables(self, after: Round) -> Iterator[tuple[str, pd.DataFrame]]:
        """The name and the table of every probe that measures after this round.

        Raises:
            UsageError: a probe gave no table.
        """
        last = after.number == self.experiment.federation.num_rounds
        moment = self._moment(after)
        for probe in self.experiment.evaluation.asked:
            if last or probes.facts(probe.name).when == "round":
                yield probe.name, measure(probe.name, probe.options, self.engine, moment)

    def _moment(self, after: Round) -> Moment:
        seed, engine = self.experiment.seed, self.engine
        return Moment(
            round=after.number,
            adapter=after.state["adapter"],
            participants=after.participants,
            texts=self.texts,
            partition=self.partition,
            layout=engine.layout,
            seed=seed,
            make_initial=lambda: engine.initial(seed),
        )
