"""A run of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cllora.metrics import RunRecord


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
        """What runs of the same base at the same context agree in, whatever is trained on it and how."""
        return self.experiment.model.model_dump_json(exclude={"attention", "checkpointing", "loss_piece"})
