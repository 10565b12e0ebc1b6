"""The report: one HTML page that opens anywhere, also without a network, and its tables as CSV and LaTeX files."""

import importlib.resources
import json
from pathlib import Path
from string import Template

import plotly.offline

from cllora import store
from cllora.errors import UsageError
from cllora.reports import latex, markup, words
from cllora.reports.answer import Answer, answer
from cllora.reports.figure import Figure, caption, figures
from cllora.reports.markup import text
from cllora.reports.reading import read_runs
from cllora.reports.runs import Runs
from cllora.reports.sections import in_order
from cllora.reports.style import DARK

NOT_MEASURED = "not_measured", "Not measured"
"""The name and title of the section that says of what there is nothing to show."""


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
    runs = read_runs(folder)
    made = {name: figures.get(name)(runs) for name in in_order()}
    made = {name: figure for name, figure in made.items() if figure.measured}
    tables = path.parent / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in {"runs": runs.metrics, **{name: figure.table for name, figure in made.items()}}.items():
        if len(table):
            table.to_csv(tables / f"{name}.csv", index=False)
    if with_latex:
        for name, written in latex.tables(made).items():
            (tables / f"{name}.tex").write_text(words.begun(runs, written), encoding="utf-8")
    html = page(runs, made)
    store.atomic_write(path, lambda partial: _write(partial, html))
    return path


def page(runs: Runs, made: dict[str, Figure]) -> str:
    """The whole page. Plotly's script lies in it compressed: 2 MB in place of 5.

    Sections with nothing to show but a sentence stand together at the end.
    """
    bare = {name: figure for name, figure in made.items() if not figure.plots and not len(figure.table)}
    drawn = {name: figure for name, figure in made.items() if name not in bare}
    contents = [*((name, figure.title) for name, figure in drawn.items()), *([NOT_MEASURED] if bare else [])]
    sections = "\n".join([*(_section(name, figure) for name, figure in drawn.items()), *_not_measured(bare)])
    return Template(_asset("page.html")).substitute(
        title=text(runs.name),
        style=_asset("style.css"),
        answer=words.begun(runs, _answer(answer(runs))),
        contents="".join(f'<li><a href="#{name}">{text(title)}</a></li>' for name, title in contents),
        sections=words.begun(runs, sections),
        dark=json.dumps(DARK),
        library=markup.pack(plotly.offline.get_plotlyjs()),
        script=_asset("page.js"),
    )


def _answer(said: Answer) -> str:
    headline = f'<p class="headline">{text(said.headline)}</p>' if said.headline else ""
    sentences = "".join(f"<p>{text(sentence)}</p>" for sentence in said.sentences)
    numbers = "".join(f"<div><dt>{text(what)}</dt><dd>{text(value)}</dd></div>" for value, what in said.numbers)
    main = said.figure
    drawn = f'<div class="main">{markup.legend(main)}{markup.plot(main.plots[0])}</div>' if main.plots else ""
    return (
        f'<p class="question">{text(said.question)}</p>'
        f'<div class="first"><div>{headline}<div class="lead">{sentences}</div></div>{drawn}</div><dl>{numbers}</dl>'
    )


def _section(name: str, figure: Figure) -> str:
    notes = "".join(f"<li>{text(note)}</li>" for note in figure.notes)
    parts = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(figure.title)}</h2>',
        f'<p class="conclusion">{text(figure.conclusion)}</p>',
        f'<p class="caption">{text(caption(name))}</p>',
        markup.legend(figure),
        f'<div class="plots">{"".join(map(markup.plot, figure.plots))}</div>' if figure.plots else "",
        f'<ul class="notes">{notes}</ul>' if notes else "",
        markup.table(name, figure),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _not_measured(bare: dict[str, Figure]) -> list[str]:
    if not bare:
        return []
    name, title = NOT_MEASURED
    reasons = "".join(f"<li><strong>{text(f.title)}</strong>: {text(f.conclusion)}</li>" for f in bare.values())
    heading = f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
    return [f'{heading}<ul class="notes">{reasons}</ul></section>']


def _asset(name: str) -> str:
    return importlib.resources.files("cllora.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _write(path: Path, written: str) -> None:
    path.write_text(written, encoding="utf-8")
