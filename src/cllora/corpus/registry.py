"""The registry of corpora, and functions that give a corpus's version without reading it."""

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cllora.corpus.docstrings import docstrings, functions
from cllora.corpus.long_texts import long_texts
from cllora.corpus.packages import PACKAGES, fingerprint_of
from cllora.errors import deprecated
from cllora.registry import Registry

Row = Mapping[str, object]
"""One row of a source: column names and values."""


@dataclass(frozen=True)
class CorpusFacts:
    """The facts that a corpus states of itself.

    `version` takes those of the corpus's options that it looks into, must be quick, and gives a text that changes
    whenever the corpus would yield other rows; options are told apart without it. A corpus that has one is read once
    and found in the cache ever after; a corpus that has none is read and tokenised each time, since only that tells.
    """

    version: Callable[..., str] | None = None


corpora: Registry[Callable[..., Iterable[Row]], CorpusFacts] = Registry("corpus", CorpusFacts)
"""Corpora: functions that yield rows; their keyword-only arguments are their options."""


class _Versions(Registry[Callable[..., str]]):
    """The registry that the fact `version` stands in place of, for users' files that register there."""

    def register(self, name: str | None = None, **facts: object) -> Callable[[Callable[..., str]], Callable[..., str]]:
        deprecated("cllora.corpus.versions.register", "@corpora.register(version=...)")
        return super().register(name, **facts)


versions: Registry[Callable[..., str]] = _Versions("corpus version")


def version_of(corpus: str) -> Callable[..., str] | None:
    """The function that gives the corpus's version, if it has one."""
    stated = corpora.facts(corpus).version
    return versions.get(corpus) if stated is None and corpus in versions else stated


def packages_version(*, packages: Sequence[str] | None = None) -> str:
    """The packages' names and versions, that of the Python whose grammar reads them, and the code that does."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("packages.py", "docstrings.py"))
    names = PACKAGES if packages is None else packages
    return f"{fingerprint_of(names)}, Python {platform.python_version()}, {hashlib.sha256(code).hexdigest()[:16]}"


corpora.register(version=packages_version)(docstrings)
corpora.register(version=packages_version)(functions)
corpora.register(version=packages_version)(long_texts)
