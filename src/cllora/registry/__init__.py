"""Names for the things a study can choose from: corpora, features, partitioners, strategies, presets, figures."""

from cllora.registry.members import AnyRegistry, Names, NoFacts, Registry, guess
from cllora.registry.plugins import code_files, load_plugins
from cllora.registry.problems import UNION_BRANCH, field_error, first_problem, without_commas
from cllora.registry.written import as_written, check_as_written

__all__ = [
    "UNION_BRANCH",
    "AnyRegistry",
    "Names",
    "NoFacts",
    "Registry",
    "as_written",
    "check_as_written",
    "code_files",
    "field_error",
    "first_problem",
    "guess",
    "load_plugins",
    "without_commas",
]
