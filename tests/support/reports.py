"""Sections of the report as tests look at them."""

from cllora.analysis import Results
from cllora.reports import Section, drawn, sections

__all__ = ["drawn", "section"]


def section(name: str, results: Results) -> Section:
    """A section as data."""
    made = sections.get(name)(results)
    assert isinstance(made, Section)
    return made
