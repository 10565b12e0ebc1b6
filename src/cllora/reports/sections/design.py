"""The section on the design: the settings of the study."""

from cllora import store
from cllora.analysis import Results, settings
from cllora.errors import counted
from cllora.metrics.formats import listed
from cllora.presets import WIDTHS, StandIns, stand_ins
from cllora.reports.facts import Statement
from cllora.reports.section import Section, sections


@sections.register(title="Design")
def design(results: Results) -> Section:
    """The fields that were varied, those held fixed, and how often all was repeated. Fields that are not told have
    their default; the whole of them is in every run's spec.json."""
    numbers = {"cells": len(results.cells), "seeds": len(results.seeds), "runs": len(results.members)}
    cells, seeds, runs = (counted(many, noun[:-1]) for noun, many in numbers.items())
    against = f", compared with {results.against}" if results.controls and len(results.cells) > 1 else ""
    failed = [f"Failed: {listed(names)}: {reason}" for reason, names in store.by_reason(results.failed).items()]
    stand_for = [note for asked in stand_ins() for note in _stand_ins(results, asked)]
    return Section(
        facts=(Statement(f"{cells} over {seeds}: {runs}{against}.", numbers),),
        table=settings(results),
        notes=(*stand_for, *failed),
    )


def _stand_ins(results: Results, asked: StandIns) -> tuple[str, ...]:
    """A note on which models of the package stand for larger ones."""
    names = {run.experiment.model.name for run in results.members}
    shown = {larger: name for larger, name in asked.models.items() if name in names}
    if len(shown) < 2:
        return ()
    pairs = ", ".join(f"{name} (width {WIDTHS[name]}) for {larger}" for larger, name in shown.items())
    return (
        f"Briefly trained models of {len(shown)} widths stand in for {asked.used_by}: {pairs}. They differ in "
        "depth and in how much they were trained too, as the cards in the package say.",
    )
