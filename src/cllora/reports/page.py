"""The report: one HTML page that opens anywhere, also without a network, and its tables as CSV and LaTeX files."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cllora import store
from cllora.analysis import Results
from cllora.analysis import results as read
from cllora.errors import UsageError, counted
from cllora.reports import draw, html, latex
from cllora.reports.answer import answer
from cllora.reports.columns import shown
from cllora.reports.facts import NotMeasured
from cllora.reports.figure import Figure
from cllora.reports.notes import begun
from cllora.reports.say import say
from cllora.reports.section import Section, in_order, made, sections


@pd.option_context("mode.string_storage", "python")  # Arrow's text costs small tables half their time again.
def report(folder: Path, out: Path | None = None, *, with_latex: bool = False) -> Path:
    """Write the page, and `tables/*.csv` beside it, from any folder of runs; those under way are read as they stand.

    Args:
        folder: a study's folder, a single run's, or any folder with runs somewhere below it.
        out: the page's path, by default `report.html` in `folder`.
        with_latex: write the tables that a person reads as `tables/*.tex` too, see `latex.booktabs`.

    Returns:
        The page's path.

    Raises:
        UsageError: there is no run with a finished round, or `out` does not name a page.
    """
    path = folder / "report.html" if out is None else out
    if path.suffix != ".html" or path.is_dir():
        raise UsageError(f"{path} is not a page's name; name the page, such as report.html")
    results = read(folder)
    figures = {name: drawn(name, results) for name in in_order()}
    figures = {name: figure for name, figure in figures.items() if figure.measured}
    tables = path.parent / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in {"runs": results.metrics, **{name: figure.table for name, figure in figures.items()}}.items():
        if len(table):
            table.to_csv(tables / f"{name}.csv", index=False)
    if with_latex:
        for name, written in latex.tables(figures).items():
            (tables / f"{name}.tex").write_text(begun(results, written), encoding="utf-8")
    text = page(results, figures)
    store.atomic_write(path, lambda partial: partial.write_bytes(text.encode()))
    return path


def drawn(name: str, results: Results) -> Figure:
    """A registered section as charts, sentences and text. What is drawn already is left as it is."""
    section = made(name, results)
    return section if isinstance(section, Figure) else _drawn(section, results)


def _drawn(section: Section, results: Results) -> Figure:
    figures = [spec for spec in section.figures if len(spec.table)]
    left_out = sum(draw.left_out(spec) for spec in figures)
    more = f"Not drawn: {counted(left_out, 'more picture')}; the numbers are in the file." if left_out else ""
    return Figure(
        title=section.title,
        conclusion=" ".join(say(fact) for fact in section.facts),
        plots=tuple(plot for spec in figures for plot in draw.plots(spec, results)),
        legend=tuple(dict.fromkeys(key for spec in figures for key in draw.keys(spec, results))),
        table=section.numbers,
        shown=shown(section.table),
        folded=section.folded,
        notes=tuple(note for note in (*section.notes, more) if note),
        measured=section.asked,
        has_data=not all(isinstance(fact, NotMeasured) for fact in section.facts) or len(section.numbers) > 0,
    )


def page(results: Results, figures: Mapping[str, Figure]) -> str:
    """The whole page as HTML. Sections of which nothing is known stand together at the end."""
    first = answer(results)
    written = html.page(
        title=results.name,
        question=first.question,
        headline=say(first.headline) if first.headline else "",
        sentences=[say(fact) for fact in first.section.facts],
        numbers=first.numbers,
        main=_drawn(first.section, results),
        drawn={name: figure for name, figure in figures.items() if figure.has_data},
        bare=[figure for figure in figures.values() if not figure.has_data],
        captions={name: sections.help(name) for name in figures},
    )
    return begun(results, written)
