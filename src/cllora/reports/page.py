"""The report: one HTML page that opens anywhere, also without a network, and its tables as CSV and LaTeX files."""

from pathlib import Path

from cllora import store
from cllora.analysis import Results
from cllora.analysis import results as read
from cllora.errors import UsageError, counted
from cllora.reports import draw, html, latex
from cllora.reports.answer import answer
from cllora.reports.columns import shown as as_text
from cllora.reports.facts import NotMeasured
from cllora.reports.figure import Figure
from cllora.reports.notes import begun
from cllora.reports.say import say
from cllora.reports.section import Section, caption, in_order, sections


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
    made = figures_of(results)
    tables = path.parent / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in {"runs": results.metrics, **{name: figure.table for name, figure in made.items()}}.items():
        if len(table):
            table.to_csv(tables / f"{name}.csv", index=False)
    if with_latex:
        for name, written in latex.tables(made).items():
            (tables / f"{name}.tex").write_text(begun(results, written), encoding="utf-8")
    written = page(results, made)
    store.atomic_write(path, lambda partial: _write(partial, written))
    return path


def figures_of(results: Results) -> dict[str, Figure]:
    """Every section of which anything was asked for, drawn, in the order in which they are read."""
    made = {name: drawn(name, results) for name in in_order()}
    return {name: figure for name, figure in made.items() if figure.measured}


def drawn(name: str, results: Results) -> Figure:
    """A registered section as charts, sentences and text."""
    return shown(sections.get(name)(results), results)


def shown(section: Section | Figure, results: Results) -> Figure:
    """A section as charts, sentences and text. What is drawn already is left as it is."""
    if isinstance(section, Figure):
        return section
    left_out = sum(draw.left_out(spec) for spec in section.figures)
    more = (f"Not drawn: {counted(left_out, 'more picture')}; the numbers are in the file.",) if left_out else ()
    return Figure(
        title=section.title,
        conclusion=" ".join(say(fact) for fact in section.facts),
        plots=tuple(plot for spec in section.figures for plot in draw.plots(spec, results)),
        legend=tuple(dict.fromkeys(key for spec in section.figures for key in draw.keys(spec, results))),
        table=section.numbers,
        shown=as_text(section.table),
        folded=section.folded,
        notes=(*section.notes, *more),
        measured=section.asked,
        known=not all(isinstance(fact, NotMeasured) for fact in section.facts) or len(section.numbers) > 0,
    )


def page(results: Results, made: dict[str, Figure]) -> str:
    """The whole page as HTML."""
    told = answer(results)
    written = html.page(
        title=results.name,
        question=told.question,
        headline=say(told.headline) if told.headline else "",
        sentences=[say(fact) for fact in told.section.facts],
        numbers=told.numbers,
        main=shown(told.section, results),
        made=made,
        captions={name: caption(name) for name in made},
    )
    return begun(results, written)


def _write(path: Path, written: str) -> None:
    path.write_text(written, encoding="utf-8")
