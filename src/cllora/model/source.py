"""Where a base model comes from: the package, a folder, or a hub."""

from pathlib import Path

EMBEDDED = Path(__file__).parent / "embedded"
"""The small pretrained base that ships inside the package; see its README.md."""


def where(name: str) -> str:
    """What transformers' `from_pretrained` takes for a model's name in a study."""
    return str(EMBEDDED) if name == "embedded" else name
