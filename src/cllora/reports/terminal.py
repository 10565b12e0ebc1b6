"""The same numbers for a terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cllora.claims import verdict_table, verdicts
from cllora.errors import visible
from cllora.metrics import metrics
from cllora.reports import words
from cllora.reports.labels import feature_text, range_text
from cllora.reports.reading import read_runs
from cllora.reports.runs import Runs
from cllora.reports.sections.results import finished_seeds
from cllora.reports.sections.verdicts import told
from cllora.reports.sheet import WHOLE, Sheet
from cllora.spec import Experiment, PartitionSpec, axis_text
from cllora.types import ClientMeasures, Doses, Heterogeneity, Partition, TextClass

MOST_CLIENTS = 40
"""More clients than this are not all shown."""
ROOMY = 70
"""Columns from which on there is room for three texts side by side."""
AFTER = 2
"""The metrics that stand before the difference of the first to its control."""
BAR = 30
MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
COLOURS = ("#5b3a8c", "#31688e", "#21918c", "#35b779", "#b5de2b")
"""Backgrounds of the classes, from the first to the last; more classes share them in order."""


def results_table(source: Path | Runs) -> Sheet:
    """One row per cell: means over its finished seeds, or if none is finished over all it has.

    Losses are in nats per token; `±` is the standard deviation over seeds.

    Args:
        source: a folder of runs, or what `read_runs` made of it.

    Raises:
        UsageError: there is no run with a finished round.
    """
    runs = read_runs(source) if isinstance(source, Path) else source
    contrasts = runs.contrasts("final_loss").set_index("cell")["difference"]
    shown = [metric for metric in metrics.shown_in("terminal") if runs.averaged[metric.name].notna().any()]
    lines = []
    for cell in runs.cells:
        rows = runs.averaged[runs.averaged["cell"] == cell]
        against = "control" if cell in runs.controls else words.signed(float(contrasts.get(cell, np.nan)))
        means = [metric.format(rows[metric.name].mean()).replace(" ", "") for metric in shown]
        means[0] += f"±{words.number(rows['final_loss'].std())}" if len(rows) > 1 else ""
        lines.append([runs.short(cell), *means[:AFTER], against, *means[AFTER:]])
    headings = [words.begun(runs, metric.short) for metric in shown]
    headings = [", ".join(runs.axes) or "run", *headings[:AFTER], "− control", *headings[AFTER:]]
    return Sheet(headings, lines, caption=_caption(runs), bold=True)


def result_rows(source: Path | Runs) -> list[dict[str, Any]]:
    """The outcomes of every run as plain data; what was not measured is None.

    Raises:
        UsageError: there is no run with a finished round.
    """
    return _plain((read_runs(source) if isinstance(source, Path) else source).metrics)


def verdict_rows(runs: Runs) -> list[dict[str, Any]]:
    """The comparisons of every claim that a study tests, with their verdicts, as plain data."""
    return _plain(verdict_table(verdicts(runs)))


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def _caption(runs: Runs) -> str:
    said = [
        "Nats per token. local: own adapters on own texts; spread: standard deviation over clients of loss minus base; "
        "worst: that of the worst tenth; MB: up and down."
    ]
    if len(runs.seeds) == 1:
        said.append("One seed: no difference can be told from chance.")
    else:
        said += _answers(runs)
    said += told([one for one in verdicts(runs) if one.kind != "not tested"])
    unfinished = sum(not run.finished for run in runs.members) + len(runs.missing)
    if unfinished:
        some = [(runs.short(cell), finished_seeds(runs, cell)) for cell in runs.cells]
        few = "; ".join(f"{cell}: {seeds} seeds" for cell, seeds in some if " of " in seeds)
        said.append(f"{words.count(unfinished, 'run')} unfinished{f' ({few})' if few else ''}.")
    return visible(words.begun(runs, " ".join(said)))


def _answers(runs: Runs) -> list[str]:
    """What each cell's difference in final global loss to its control shows, cells of one answer together."""
    judged = runs.contrasts("final_loss")
    cells: dict[str, list[str]] = {}
    for cell, answer in zip(judged["cell"], judged["answer"], strict=True):
        cells.setdefault(answer, []).append(f"({runs.short(cell)})" if len(runs.axes) > 1 else runs.short(cell))
    said = "; ".join(f"{words.listed(of)}: {answer}" for answer, of in cells.items())
    return [f"Global loss against the control: {said}."] if said else []


class _Members:
    def __init__(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        self.title = title
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max((cell_len(name) for name, *_ in self.rows), default=0)
        if getattr(console, "whole", False):
            options = options.update(max_width=WHOLE)
        if options.max_width < ROOMY or longest > options.max_width // 3:
            yield Text(self.title, style="italic")
            for name, what, given in self.rows:
                yield Text(name, style="bold", overflow="fold")
                yield from (Padding(Text(text, overflow="fold"), (0, 0, 0, 2)) for text in (what, given) if text)
            return
        table = Table(title=Text(self.title), title_justify="left", box=None, pad_edge=False, header_style="bold")
        table.add_column("name", no_wrap=True)
        for column in ("what it is", "options"):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        yield from console.render(table, options)


def members_view(title: str, rows: Sequence[tuple[str, str, str]]) -> RenderableType:
    """What a study can name of one kind: the name, what it is, and its options; below each other where it is narrow."""
    return _Members(title, rows)


def partition_view(partition: Partition, experiment: Experiment) -> RenderableType:
    """Who would get what, and how skewed that really is: a row per client, the classes, a summary, and the warnings.

    A client's bar shows its class shares by the classes' numbers. Samples and tokens count training and test texts
    together; tokens as the model sees them. Where clients have contexts of their own, their texts are `cut at`
    these, and `seen` has the tokens that they see of what they train on.

    Args:
        partition: one whose heterogeneity was measured.
    """
    measured = partition.heterogeneity
    clients = measured.clients
    shown = shown_clients(clients.samples, clients.tokens)
    asked = experiment.partition
    said = ", ".join([asked.scheme, *(f"{key} = {axis_text(v)}" for key, v in asked.options.items())])
    parts: list[RenderableType] = [
        Text(visible(f"{said}, by {_features(asked)}, seed {experiment.seed}"), style="bold"),
        _clients(clients, shown, measured.spoiled),
        _class_key(measured.classes.described, feature_text(asked.by, asked.residual_on)),
        _summary(measured),
    ]
    if len(shown) < partition.num_clients:
        half = MOST_CLIENTS // 2
        parts.insert(
            2, Text(f"The {half} largest and {half} smallest of {partition.num_clients:,} clients.", style="dim")
        )
    parts += [Text(visible(f"! {words.capital(sentence)}."), style="yellow") for sentence in measured.warnings]
    return Group(*parts)


def _features(asked: PartitionSpec) -> str:
    first = feature_text(asked.by, asked.residual_on)
    return first if asked.and_by is None else f"{first} and {feature_text(asked.and_by)}"


def shown_clients(samples: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """All clients in order, or of many the largest and the smallest, by samples and then tokens."""
    order: list[int] = np.lexsort((tokens, samples))[::-1].tolist()
    if len(order) <= MOST_CLIENTS:
        return sorted(order)
    half = MOST_CLIENTS // 2
    return [*order[:half], *order[-half:]]


def _clients(clients: ClientMeasures, shown: Sequence[int], spoiled: Doses | None) -> Sheet:
    headings = ["client", "samples", "tokens", "classes", "JS"]
    headings += [] if spoiled is None else ["spoiled"]
    headings += [] if clients.contexts is None else ["cut at", "seen"]
    names = clients.names or [str(k) for k in range(len(clients.samples))]
    rows: list[list[str | Text]] = []
    for k in shown:
        counts = f"{clients.samples[k]:,}", f"{clients.tokens[k]:,}"
        more = [] if spoiled is None else [f"{spoiled.doses[k]:.0%}"]
        more += [f"{column[k]:,}" for column in (clients.contexts, clients.tokens_in_context) if column is not None]
        rows.append([names[k], *counts, bar(clients.class_shares[k]), f"{clients.js[k]:.2f}", *more])
    return Sheet(headings, rows, widest=20, left=[3])


def bar(shares: Sequence[float]) -> Text:
    """`BAR` characters, each class's number as often as its share says (rounded where the classes meet)."""
    ends = np.rint(np.cumsum(shares) * BAR).astype(int)
    bar = Text()
    for c, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        bar.append(MARKS[c % len(MARKS)] * int(end - start), style=class_style(c, len(shares)))
    return bar


def class_style(c: int, classes: int) -> str:
    background = COLOURS[c * len(COLOURS) // max(classes, 1)]
    return f"{'black' if background in COLOURS[3:] else 'white'} on {background}"


def _class_key(described: Sequence[TextClass], feature: str) -> Sheet:
    """Which number is which class: its range of the feature, and the median of what the model sees of its texts."""
    rows: list[list[str | Text]] = []
    for c, one in enumerate(described):
        mark = Text(f" {MARKS[c % len(MARKS)]} ", style=class_style(c, len(described)))
        rows.append([mark, range_text(one), f"{one.samples:,}", f"{one.median_tokens:.0f}"])
    return Sheet(["class", feature, "texts", "median tokens"], rows)


def _summary(measured: Heterogeneity) -> Table:
    samples, tokens, between = measured.samples, measured.tokens, measured.variance_between
    log = [] if between.log1p is None else [("  of log(1 + feature)", f"{between.log1p:.3f}")]
    second, spoiled = measured.and_by, measured.spoiled
    more = [] if second is None else [("second feature, mean Jensen-Shannon divergence", f"{second.js_mean:.3f}")]
    more += [] if spoiled is None else [("texts spoiled", f"{spoiled.share:.1%}")]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    for what, value in (
        ("class mixes, mean Jensen-Shannon divergence", f"{measured.js_mean:.3f}"),
        ("class mixes, mean total variation", f"{measured.tv_mean:.3f}"),
        *more,
        ("largest class share, mean", f"{measured.largest_class_share_mean:.2f}"),
        ("Gini of samples / tokens", f"{samples.gini:.3f} / {tokens.gini:.3f}"),
        ("effective clients by samples / tokens", f"{samples.effective_clients:.1f} / {tokens.effective_clients:.1f}"),
        ("smallest client, samples / tokens", f"{samples.min:,} / {tokens.min:,}"),
        ("largest client, samples / tokens", f"{samples.max:,} / {tokens.max:,}"),
        ("share of variance between clients: of the feature", f"{between.values:.3f}"),
        *log,
        ("  of the tokens seen", f"{between.tokens:.3f}"),
        ("  of any of them, on average, in a random deal", f"{between.chance:.3f}"),
    ):
        table.add_row(what, value)
    return table
