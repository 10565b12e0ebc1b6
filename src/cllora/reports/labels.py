"""What the feature and its classes are called, and the warning of cells that leak."""

from collections.abc import Sequence

from cllora.analysis.names import LEAKS, class_names, feature_text, leaks, range_text

__all__ = ["LEAKS", "class_names", "feature_text", "leak_note", "leaks", "range_text"]


def leak_note(cells: Sequence[str]) -> tuple[str, ...]:
    """A warning of the cells that leak, if any does."""
    return (f"Tokens see later ones of their text ({LEAKS}): {'; '.join(cells)}.",) if cells else ()
