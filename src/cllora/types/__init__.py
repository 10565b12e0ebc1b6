"""The values that flow through a study. All frozen, all plain arrays and numbers; nothing here remembers a run."""

from cllora.types.arrays import Array, Ids, OnRead
from cllora.types.environment import (
    AttentionRecord,
    BaseRecord,
    DataRecord,
    Environment,
    Hardware,
    MessageSizes,
    Origin,
    Package,
)
from cllora.types.layout import Arrays, Layout, Mask, Matrix, Model, Vector, model_of, same_frozen
from cllora.types.partition import (
    ClientMeasures,
    Doses,
    FeatureClasses,
    Heterogeneity,
    LengthCorrelation,
    Partition,
    SecondFeature,
    Spread,
    TextClass,
    VarianceBetween,
)
from cllora.types.plain import Json, from_plain, to_plain
from cllora.types.records import ClientRecord, RoundRecord
from cllora.types.samples import EndingTokenizer, Samples, Tokenizer
from cllora.types.training import Job, Losses, Participant, Round, Task, Trained, Update, Work

__all__ = [
    "Array",
    "Arrays",
    "AttentionRecord",
    "BaseRecord",
    "ClientMeasures",
    "ClientRecord",
    "DataRecord",
    "Doses",
    "EndingTokenizer",
    "Environment",
    "FeatureClasses",
    "Hardware",
    "Heterogeneity",
    "Ids",
    "Job",
    "Json",
    "Layout",
    "LengthCorrelation",
    "Losses",
    "Mask",
    "Matrix",
    "MessageSizes",
    "Model",
    "OnRead",
    "Origin",
    "Package",
    "Participant",
    "Partition",
    "Round",
    "RoundRecord",
    "Samples",
    "SecondFeature",
    "Spread",
    "Task",
    "TextClass",
    "Tokenizer",
    "Trained",
    "Update",
    "VarianceBetween",
    "Vector",
    "Work",
    "from_plain",
    "model_of",
    "same_frozen",
    "to_plain",
]
