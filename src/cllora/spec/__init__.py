"""A user's request: a `Study`, and the `Experiment`s (cells) that it stands for."""

from cllora.spec.aliases import ALIASES, OLD_NAMES
from cllora.spec.cell import Cell, without_seed
from cllora.spec.data import CorruptSpec, DataSpec
from cllora.spec.fields import Fields, axis_text
from cllora.spec.model import LoraSpec, ModelSpec
from cllora.spec.registration import Registration
from cllora.spec.section import Choice
from cllora.spec.sections import (
    PASSKEY_CONTEXT,
    PASSKEY_KEYS,
    SURFACE_SIDE,
    EvaluationSpec,
    Experiment,
    FederationSpec,
    LocalSpec,
    PartitionSpec,
)
from cllora.spec.study import PRIMARY, Study, load_study_file
from cllora.spec.written import read_setting

__all__ = [
    "ALIASES",
    "OLD_NAMES",
    "PASSKEY_CONTEXT",
    "PASSKEY_KEYS",
    "PRIMARY",
    "SURFACE_SIDE",
    "Cell",
    "Choice",
    "CorruptSpec",
    "DataSpec",
    "EvaluationSpec",
    "Experiment",
    "FederationSpec",
    "Fields",
    "LocalSpec",
    "LoraSpec",
    "ModelSpec",
    "PartitionSpec",
    "Registration",
    "Study",
    "axis_text",
    "load_study_file",
    "read_setting",
    "without_seed",
]
