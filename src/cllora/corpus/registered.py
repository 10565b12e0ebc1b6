"""The registry of corpora, and what tells one version of a corpus from another without reading it."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import PositiveInt

from cllora.corpus.docstrings import PACKAGES, docstrings, fingerprint_of
from cllora.registry import Registry

Row = Mapping[str, object]
"""One row of a source: column names and values."""

corpora: Registry[Callable[..., Iterable[Row]]] = Registry("corpus")
"""Corpora: functions that yield rows; their keyword-only arguments are their options."""

versions: Registry[Callable[..., str]] = Registry("corpus version")
"""Optional companions of corpora, under the same name and with the same options, that must be quick.

Each returns a text that changes whenever the corpus would yield other rows. A corpus that has one is read once and
found in the cache ever after; a corpus that has none is read and tokenised each time, since only that tells.
"""

corpora.register()(docstrings)


@versions.register("docstrings")
def docstrings_version(
    *, packages: Sequence[str] | None = None, min_chars: int = 24, per_package: PositiveInt | None = None
) -> str:
    """The packages' names and versions, and that of the Python whose grammar reads them."""
    del min_chars, per_package  # options are told apart by the cache itself
    return f"{fingerprint_of(PACKAGES if packages is None else packages)}, Python {platform.python_version()}"
