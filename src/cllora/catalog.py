"""Everything that a study can name, by the kinds that `cllora list` shows."""

import logging

from cllora.registry import AnyRegistry

log = logging.getLogger("cllora")


def registries() -> dict[str, AnyRegistry]:
    """The registries by their kind, such as `features`."""
    from cllora.claims import claims
    from cllora.corpus import corpora, corruptions, features
    from cllora.federated import strategies
    from cllora.metrics import metrics
    from cllora.model.patterns import patterns
    from cllora.partition import partitioners
    from cllora.presets import presets
    from cllora.probes import probes
    from cllora.reports import sections
    from cllora.runs import trackers

    return {
        "corpora": corpora,
        "features": features,
        "corruptions": corruptions,
        "partitioners": partitioners,
        "patterns": patterns,
        "strategies": strategies,
        "probes": probes,
        "presets": presets,
        "metrics": metrics,
        "claims": claims,
        "sections": sections,
        "trackers": trackers,
    }


RENAMED = {"figures": "sections", "spoilers": "corruptions"}
"""Kinds by what they were called in 0.1.0."""


def named_today(kind: str | None) -> str | None:
    """A kind by its name of today; with a warning if it was given by the name that it had in 0.1.0."""
    if kind not in RENAMED:
        return kind
    log.warning("%s are called %s; the old name will go", kind, RENAMED[kind])
    return RENAMED[kind]


def options_of(registry: AnyRegistry, name: str) -> dict[str, object]:
    """A member's options with their defaults; `(required)` where there is none."""
    options = registry.options(name).items()
    return {key: "(required)" if option.default is option.empty else option.default for key, option in options}
