"""A run of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from cllora.metrics import RunRecord

CLIENT = ("samples", "tokens", "steps", "train_loss", "local_loss", "bytes_up", "bytes_down", "seconds")


@dataclass(frozen=True)
class Run(RunRecord):
    """A run of a study.

    labels: the values of the study's axes, as text.
    outcome: its metrics by name, those against a control left out.
    """

    labels: Mapping[str, str] = field(kw_only=True)
    outcome: Mapping[str, float] = field(kw_only=True)

    @property
    def base(self) -> str:
        """The fields in which runs of the same base at the same context agree, whatever is trained on it and how."""
        return self.experiment.model.model_dump_json(exclude={"attention", "checkpointing", "loss_piece"})

    @property
    def clients(self) -> pd.DataFrame:
        """A row per round and client trained in it."""
        rows = [{"round": record["round"], **client} for record in self.rounds for client in record["clients"]]
        return pd.DataFrame(rows, columns=["round", "client", *CLIENT])
