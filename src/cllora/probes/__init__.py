"""Measurements with the model in hand, at a stated moment, kept as tables; one file each."""

from cllora.probes import attention_entropy, loss_by_position, loss_surface, passkey, update_geometry
from cllora.probes.probe import Moment, Probe, ProbeRegistry, probes

__all__ = [
    "Moment",
    "Probe",
    "ProbeRegistry",
    "attention_entropy",
    "loss_by_position",
    "loss_surface",
    "passkey",
    "probes",
    "update_geometry",
]
