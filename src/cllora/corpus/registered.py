"""The registry of corpora, and what tells one version of a corpus from another without reading it."""

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cllora.corpus.docstrings import docstrings
from cllora.corpus.long_texts import long_texts
from cllora.corpus.packages import PACKAGES, fingerprint_of
from cllora.registry import Registry

Row = Mapping[str, object]
"""One row of a source: column names and values."""

corpora: Registry[Callable[..., Iterable[Row]]] = Registry("corpus")
"""Corpora: functions that yield rows; their keyword-only arguments are their options."""

versions: Registry[Callable[..., str]] = Registry("corpus version")
"""Optional companions of corpora, under the same name, that must be quick. Options of the corpus are told apart without
them; a companion takes those that it looks into.

Each returns a text that changes whenever the corpus would yield other rows. A corpus that has one is read once and
found in the cache ever after; a corpus that has none is read and tokenised each time, since only that tells.
"""

corpora.register()(docstrings)
corpora.register()(long_texts)


@versions.register("docstrings")
@versions.register("long_texts")
def packages_version(*, packages: Sequence[str] | None = None) -> str:
    """The packages' names and versions, that of the Python whose grammar reads them, and the code that does."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("packages.py", "docstrings.py"))
    names = PACKAGES if packages is None else packages
    return f"{fingerprint_of(names)}, Python {platform.python_version()}, {hashlib.sha256(code).hexdigest()[:16]}"
