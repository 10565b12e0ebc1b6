"""The report's figures as 0.1.0 had them: functions that draw a section themselves."""

import functools
from collections.abc import Callable
from dataclasses import fields

import pandas as pd

from cllora.analysis import Results
from cllora.errors import deprecated
from cllora.reports.figure import Figure
from cllora.reports.section import sections


class Runs(Results):
    """`Results` with the names that it had in 0.1.0."""

    @property
    def outcomes(self) -> pd.DataFrame:
        return self.metrics

    @property
    def results(self) -> pd.DataFrame:
        return self.averaged


Draw = Callable[[Runs], Figure]


class Figures:
    """The registry of 0.1.0, of functions `(runs: Runs) -> Figure`."""

    def register(self, name: str | None = None) -> Callable[[Draw], Draw]:
        """Add a drawn section to the report, and warn that `sections.register` takes its place."""
        deprecated("cllora.reports.figures.register", "sections.register, of a function that returns a Section")

        def add(draw: Draw) -> Draw:
            @functools.wraps(draw)
            def section(results: Results) -> Figure:
                return draw(Runs(**{field.name: getattr(results, field.name) for field in fields(Results)}))

            sections.register(name)(section)
            return draw

        return add


figures = Figures()
