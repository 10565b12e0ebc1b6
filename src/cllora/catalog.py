"""Everything that a study can name, by the kinds that `cllora list` shows."""

from cllora.registry import AnyRegistry


def registries() -> dict[str, AnyRegistry]:
    """The registries by their kind, such as `features`."""
    from cllora.claims import claims
    from cllora.corpus import corpora, features, spoilers
    from cllora.federated import strategies
    from cllora.metrics import metrics
    from cllora.model.patterns import patterns
    from cllora.partition import partitioners
    from cllora.presets import presets
    from cllora.probes import probes
    from cllora.reports import figures
    from cllora.runs import trackers

    return {
        "corpora": corpora,
        "features": features,
        "spoilers": spoilers,
        "partitioners": partitioners,
        "patterns": patterns,
        "strategies": strategies,
        "probes": probes,
        "presets": presets,
        "metrics": metrics,
        "claims": claims,
        "figures": figures,
        "trackers": trackers,
    }


def options_of(registry: AnyRegistry, name: str) -> dict[str, object]:
    """A member's options with their defaults; `(required)` where there is none."""
    options = registry.options(name).items()
    return {key: "(required)" if option.default is option.empty else option.default for key, option in options}
