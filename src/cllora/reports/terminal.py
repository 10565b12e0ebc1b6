"""The results for a terminal, and as plain data."""

import json
from pathlib import Path

import pandas as pd

from cllora.analysis import Results
from cllora.analysis import results as read
from cllora.claims import verdict_table, verdicts
from cllora.errors import counted, visible
from cllora.metrics import metrics
from cllora.metrics.formats import listed
from cllora.reports.columns import cell as text_of
from cllora.reports.facts import carried_by_few
from cllora.reports.notes import begun
from cllora.reports.say import say
from cllora.reports.sections.results import finished_seeds, result_table
from cllora.reports.sections.verdicts import answered, facts
from cllora.reports.sheet import Sheet
from cllora.spec import PRIMARY


@pd.option_context("mode.string_storage", "python")  # as in `report`
def results_table(source: Path | Results) -> Sheet:
    """One row per cell: means over its finished seeds, or if none is finished over all it has.

    Losses are in nats per token; `±` is the standard deviation over seeds.

    Args:
        source: a folder of runs, or the results read from it.

    Raises:
        UsageError: there is no run with a finished round.
    """
    results = read(source) if isinstance(source, Path) else source
    table = result_table(results, "terminal").drop(columns=["finished_seeds", "answer"])
    shown = {m.name: m.short for m in metrics.shown_in("terminal") if m.name in table} | {"difference": "− control"}
    names = {results.axis_title or "run": [results.short(cell) for cell in table["cell"]]}
    columns = {
        begun(results, shown[name]): [_short(value, name) for value in table[name]] for name in table.columns[1:]
    }
    return Sheet(names | columns, caption=_caption(results, shown), bold=True)


def _short(value: object, name: str) -> str:
    """A value without what there is no room for: the deviation of all but the main metric, and an interval."""
    plain = value if name == PRIMARY else getattr(value, "value", value)
    return text_of(plain, name).replace(" ", "")


def result_rows(source: Path | Results) -> list[dict[str, object]]:
    """The metrics of every run as plain data; what was not measured is None.

    Raises:
        UsageError: there is no run with a finished round.
    """
    return _plain((read(source) if isinstance(source, Path) else source).metrics)


def verdict_rows(results: Results) -> list[dict[str, object]]:
    """The comparisons of every claim that a study tests, with their verdicts, as plain data."""
    return _plain(verdict_table(answered(verdicts(results))))


def _plain(table: pd.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records"))
    return rows


def _caption(results: Results, shown: dict[str, str]) -> str:
    titles = {name: metrics.metric(name).title for name in shown if name in metrics}
    named = "; ".join(f"{shown[name]}: {title}" for name, title in titles.items() if shown[name] != title)
    sentences = [f"Losses in nats per token. {named}." if named else "Losses in nats per token."]
    if len(results.seeds) == 1:
        sentences.append("One seed: no difference can be told from chance.")
    else:
        sentences += [*_answers(results), *(say(fact) for fact in carried_by_few(results, PRIMARY))]
    sentences += (say(fact) for fact in facts(answered(verdicts(results))))
    unfinished = sum(not run.finished for run in results.members) + len(results.missing)
    if unfinished:
        seeds = {results.short(cell): finished_seeds(results, cell) for cell in results.cells}
        few = "; ".join(f"{cell}: {many} seeds" for cell, many in seeds.items() if " of " in many)
        sentences.append(f"{counted(unfinished, 'run')} unfinished{f' ({few})' if few else ''}.")
    return visible(begun(results, " ".join(sentences)))


def _answers(results: Results) -> list[str]:
    """The answers on each cell's difference to its control, cells of one answer together."""
    cells: dict[str, list[str]] = {}
    for row in results.comparisons(PRIMARY):
        name = results.short(row.cell)
        cells.setdefault(row.answer, []).append(f"({name})" if len(results.axes) > 1 else name)
    sentences = "; ".join(f"{listed(names)}: {answer}" for answer, names in cells.items())
    return [f"{metrics.metric(PRIMARY).short.capitalize()} against the control: {sentences}."] if sentences else []
