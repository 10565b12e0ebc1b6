"""Sections of the report as tests look at them."""

from cllora.analysis import Results
from cllora.reports import Section, drawn
from cllora.reports.section import made

__all__ = ["drawn", "section"]


def section(name: str, results: Results) -> Section:
    """A section as data."""
    section = made(name, results)
    assert isinstance(section, Section)
    return section
