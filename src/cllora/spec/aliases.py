"""Other names for what a study can name. What is written down has the first name, so that ids stay."""

ALIASES: dict[str, dict[str, str]] = {
    "partition.scheme": {"dirichlet_per_client": "client_mix", "dirichlet_per_class": "class_split"},
}
"""By a field's path: what else a value may be called, and what it is called in canonical JSON."""


def canonical(path: str, value: object) -> object:
    """The value of a field under its first name."""
    return ALIASES.get(path, {}).get(value, value) if isinstance(value, str) else value
