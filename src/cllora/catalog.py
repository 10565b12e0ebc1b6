"""Everything that a study can name, by the kinds that `cllora list` shows, and as it shows them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cllora.errors import visible
from cllora.registry import AnyRegistry
from cllora.reports.sheet import WHOLE

log = logging.getLogger("cllora")

ROOMY = 70
"""Columns of a terminal from which on there is room for three texts side by side."""


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
    from cllora.runs.engines import engines

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
        "engines": engines,
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


def listing(title: str, registry: AnyRegistry) -> "Listing":
    """The members of a registry for a terminal."""
    options = {
        name: ", ".join(f"{key}={value}" for key, value in options_of(registry, name).items())
        for name in registry.names()
    }
    rows = [(visible(name), visible(registry.help(name)), visible(of_name)) for name, of_name in options.items()]
    return Listing(title, rows)


@dataclass(frozen=True)
class Listing:
    """The members of one kind: name, description and options, below each other where the terminal is narrow."""

    title: str
    rows: Sequence[tuple[str, str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max((cell_len(name) for name, *_ in self.rows), default=0)
        if getattr(console, "whole", False):
            options = options.update(max_width=WHOLE)
        if options.max_width < ROOMY or longest > options.max_width // 3:
            yield Text(self.title, style="italic")
            for name, description, options_text in self.rows:
                yield Text(name, style="bold", overflow="fold")
                yield from (
                    Padding(Text(text, overflow="fold"), (0, 0, 0, 2)) for text in (description, options_text) if text
                )
            return
        table = Table(title=Text(self.title), title_justify="left", box=None, pad_edge=False, header_style="bold")
        table.add_column("name", no_wrap=True)
        for column in ("what it is", "options"):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        yield from console.render(table, options)
