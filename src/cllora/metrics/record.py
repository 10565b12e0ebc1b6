"""The record of one run, as its folder holds it, from which metrics are computed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cllora.metrics.curves import forgetting
from cllora.metrics.fairness import fairness
from cllora.metrics.losses import Tables, class_losses
from cllora.spec import Experiment
from cllora.store import Object, read_losses
from cllora.types import Environment, Partition


@dataclass(frozen=True)
class RunRecord:
    """One run as far as it came.

    experiment: all that decides its numbers.
    partition: who trained on what and was tested on what.
    rounds: the objects of `rounds.jsonl`, one per whole round.
    tables: its losses by round, class and client.
    environment: what it ran on; nothing is recorded where there is no `environment.json`.
    costs: the object of `costs.json`; empty where there is none.
    probes: the table of every probe that was measured, by the probe's name.
    """

    folder: Path
    experiment: Experiment
    partition: Partition
    rounds: Sequence[Object]
    tables: Tables
    environment: Environment = field(default_factory=Environment)
    costs: Object = field(default_factory=dict)
    probes: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def losses(self) -> pd.DataFrame:
        """The loss table, read from disk whenever it is asked for: round, model, sample, nll (nats, summed), tokens."""
        table = read_losses(self.folder)
        whole: pd.DataFrame = table[table["round"] <= self.rounds[-1]["round"]]  # an interrupted round is not whole
        return whole

    def probe(self, name: str) -> pd.DataFrame | None:
        """The table of a probe; None where it measured nothing."""
        table = self.probes.get(name)
        return None if table is None or table.empty else table

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def last_round(self) -> int:
        """The last round that was evaluated."""
        return int(self.tables.curve["round"].iloc[-1])

    @property
    def finished(self) -> bool:
        return self.last_round >= self.experiment.federation.num_rounds

    @property
    def fingerprint(self) -> str:
        """The fingerprint of this run's data; empty if it was not recorded."""
        return self.environment.data.fingerprint or ""

    @cached_property
    def tests_fingerprint(self) -> str:
        """The fingerprint of which client is tested on which samples."""
        arrays = (self.partition.test_offsets, self.partition.test_ids)
        return hashlib.sha256(b"".join(np.asarray(array, np.int64).tobytes() for array in arrays)).hexdigest()[:16]

    @cached_property
    def final_fairness(self) -> pd.DataFrame:
        """`fairness` over clients in the last evaluated round: one row, or none without clients' test texts."""
        clients = self.tables.clients
        return fairness(clients[clients["round"] == self.last_round])

    @cached_property
    def last_gaps(self) -> pd.DataFrame:
        """Each client's last row of `Tables.gaps`: its adapter just after the last time that it trained."""
        return self.tables.gaps.sort_values("round").groupby("client").tail(1)

    @cached_property
    def class_losses(self) -> pd.DataFrame:
        """`class_losses` of the global model on the global test set, by round and class."""
        return class_losses(self.tables.texts, self.partition)

    @cached_property
    def last_local_classes(self) -> pd.DataFrame:
        """Each client's last rows of `Tables.local_classes`: its adapter just after the last time that it trained."""
        turns = self.tables.local_classes
        return turns[turns["round"] == turns.groupby("client")["round"].transform("max")]

    @cached_property
    def forgetting(self) -> pd.DataFrame:
        """`forgetting` of every class of texts."""
        return forgetting(self.tables.classes)
