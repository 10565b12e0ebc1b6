"""Measurements with the model in hand, at a stated moment, kept as tables; one file each."""

from cllora.probes import attention_entropy, loss_by_position, loss_surface, passkey, update_geometry
from cllora.probes.probe import Moment, Probe, ProbeFacts, measure, probes

__all__ = [
    "Moment",
    "Probe",
    "ProbeFacts",
    "attention_entropy",
    "loss_by_position",
    "loss_surface",
    "measure",
    "passkey",
    "probes",
    "update_geometry",
]
