"""Texts: where they come from, their tokens on disk, and the features by which they differ.

A corpus or a feature of one's own is one function under a decorator, in the package or in a file named by `load:`.
"""

from cllora.corpus.feature import TextRows, feature_values, features
from cllora.corpus.registered import Row, corpora, versions
from cllora.corpus.repeats import repeated_in
from cllora.corpus.samples import load_samples

__all__ = ["Row", "TextRows", "corpora", "feature_values", "features", "load_samples", "repeated_in", "versions"]
