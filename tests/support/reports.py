"""Sections of the report as tests look at them."""

from collections.abc import Mapping
from dataclasses import replace

from cllora.analysis import Results
from cllora.reports import Figure, Section, drawn
from cllora.reports.section import in_order, made

__all__ = ["drawn", "figures_of", "section", "with_losses"]


def with_losses(runs: Results, losses: Mapping[str, tuple[float, ...]]) -> Results:
    """These runs with other global losses, by alpha and seed; a seed without one is left out."""
    return replace(
        runs,
        members=[
            replace(run, outcome={**run.outcome, "late_loss": losses[run.labels["alpha"]][run.seed]})
            for run in runs.members
            if run.seed < len(losses[run.labels["alpha"]])
        ],
    )


def section(name: str, results: Results) -> Section:
    """A section as data."""
    section = made(name, results)
    assert isinstance(section, Section)
    return section


def figures_of(results: Results) -> dict[str, Figure]:
    """All sections of which anything was measured, drawn, in the order in which they are read."""
    figures = {name: drawn(name, results) for name in in_order()}
    return {name: figure for name, figure in figures.items() if figure.measured}
