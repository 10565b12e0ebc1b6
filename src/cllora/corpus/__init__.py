"""Texts: where they come from, their tokens on disk, and the features by which they differ.

A corpus or a feature of one's own is one function under a decorator, in the package or in a file named by `load:`.
"""

from cllora.corpus import heuristics as heuristics  # these register their features
from cllora.corpus import lexical as lexical
from cllora.corpus import model_based as model_based
from cllora.corpus import topic as topic
from cllora.corpus.corruptions import Part, corruptions
from cllora.corpus.feature import (
    BaseLosses,
    TextRows,
    feature_values,
    features,
    is_length,
    is_ordered,
    unordered,
)
from cllora.corpus.registry import Row, corpora, versions
from cllora.corpus.repeats import repeated_in
from cllora.corpus.samples import load_samples
from cllora.corpus.values import owner_text
from cllora.errors import deprecated

__all__ = [
    "BaseLosses",
    "Part",
    "Row",
    "TextRows",
    "corpora",
    "corruptions",
    "feature_values",
    "features",
    "is_length",
    "is_ordered",
    "load_samples",
    "owner_text",
    "repeated_in",
    "unordered",
    "versions",
]


def __getattr__(name: str) -> object:
    """The registry of corruptions under its name of 0.1.0, for users' files."""
    if name == "spoilers":
        deprecated("cllora.corpus.spoilers", "cllora.corpus.corruptions")
        return corruptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
