"""The report's newer parts: the answer in short, forests, failure marks, and tables for LaTeX."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
import pytest
from rich.console import Console

from cllora.analysis import Results as Runs
from cllora.analysis import results as read_runs
from cllora.errors import deprecated
from cllora.reports import (
    Answers,
    Figure,
    Forest,
    NotMeasured,
    Plot,
    Share,
    figures,
    latex,
    report,
    results_table,
)
from cllora.reports.answer import answer
from cllora.reports.html import toggled
from cllora.reports.page import page
from cllora.reports.section import in_order
from support.reports import drawn, figures_of, section
from support.synthetic import make_study, write_study


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """0.1 differs, 1 cannot be told, and 100 is equivalent."""
    study = make_study((0.1, 1, 100, "iid"), num_seeds=3)
    read = read_runs(write_study(tmp_path_factory.mktemp("runs") / "study", study))
    shift = {"0.1": (0.5, 0.51, 0.49), "1": (0.3, -0.2, 0.1), "100": (0.0001, -0.0001, 0.0), "iid": (0.0, 0.0, 0.0)}
    members = [
        replace(run, outcome={**run.outcome, "late_loss": 3 + shift[run.labels["alpha"]][run.seed]})
        for run in read.members
    ]
    return replace(read, members=members)


class Made(NamedTuple):
    """A study of two cells and two seeds: its folder, its results, and all sections of which anything was measured."""

    folder: Path
    results: Runs
    figures: dict[str, Figure]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = write_study(tmp_path_factory.mktemp("runs") / "bare", make_study(num_seeds=2))
    results = read_runs(folder)
    return Made(folder, results, figures_of(results))


def test_the_answer_in_short_says_all_three_things(runs: Runs) -> None:
    fact = answer(runs).headline
    assert isinstance(fact, Answers)
    assert [row.shows for row in fact.contrasts] == ["differs", "undecided", "equivalent"]
    assert fact.contrasts[0].difference == pytest.approx(0.5)
    assert 2 < fact.contrasts[1].needed < math.inf
    one = replace(runs, members=[run for run in runs.members if run.seed == 0])
    assert {row.shows for row in answer(one).headline.contrasts} == {"undecided"}


def test_the_main_figure_is_the_forest_or_without_a_control_the_curves(runs: Runs) -> None:
    (spec,) = answer(runs).section.figures
    assert isinstance(spec, Forest)
    (spec,) = answer(replace(runs, control={})).section.figures
    assert (spec.x, spec.y) == ("round", "loss")


def test_a_forest_tells_its_answers_in_words_and_shapes(runs: Runs) -> None:
    plot = drawn("effects", runs).plots[0]
    assert list(plot.chart.layout.yaxis.ticktext) == [
        "alpha = 0.1<br>differs",
        "alpha = 1<br>not enough seeds to tell",
        "alpha = 100<br>equivalent",
    ]
    dots = [trace for trace in plot.chart.data if trace.mode == "markers"]
    assert [trace.marker.symbol for trace in dots] == ["diamond", "square", "circle-open"]
    margin = runs.contrasts("late_loss")["margin"]
    assert f"equivalent within {margin.iloc[2]:.2g}" in plot.alt
    bands = [(shape.x1, shape.y0, shape.y1) for shape in plot.chart.layout.shapes if shape.type == "rect"]
    assert bands == [(margin.iloc[row], row - 0.5, row + 0.5) for row in range(3)]


def test_thin_intervals_leave_out_zero_just_where_it_differs(runs: Runs) -> None:
    rows = section("effects", runs).figures[0].table.query("metric == 'late_loss'")
    assert ((rows["low_holm"] > 0) | (rows["high_holm"] < 0)).tolist() == [True, False, False]
    assert ((rows["low_holm"] <= rows["low"]) & (rows["high"] <= rows["high_holm"])).all()


def test_effects_need_a_control(runs: Runs) -> None:
    (fact,) = section("effects", replace(runs, control={})).facts
    assert isinstance(fact, NotMeasured)
    assert fact.asked


def test_marks_lie_on_the_curve_of_their_run(runs: Runs) -> None:
    run = runs.members[0]
    curve = run.tables.curve.assign(loss=[3.0, 4.0, 4.0, 4.0])
    failed = replace(runs, members=[replace(run, tables=replace(run.tables, curve=curve)), *runs.members[1:]])
    assert failed.signatures[["cell", "seed", "signature", "round"]].iloc[0].tolist() == [
        "alpha = 0.1",
        0,
        "divergence",
        1,
    ]
    marks = [trace for trace in drawn("global_loss", failed).plots[0].chart.data if "divergence" in trace.name]
    assert [(list(mark.x), list(mark.y)) for mark in marks] == [([1], [4.0])]
    made = section("signatures", failed)
    assert made.numbers["client"].isna().all()
    assert made.facts[0].share == Share(1, len(runs.members))
    assert "Divergence: 1 of 3 runs at alpha = 0.1." in made.notes


def test_keys_that_show_and_hide_are_buttons(runs: Runs) -> None:
    figure = drawn("effects", runs)
    names = [key.name for key in figure.legend]
    assert names == ["differs", "equivalent", "not enough seeds to tell", "smaller than the margin"]
    assert set(names) - toggled(figure) == {"smaller than the margin"}, "the margin is always there"


def test_every_key_of_every_figure_does_something_or_is_the_margin(bare: Made) -> None:
    for name, figure in bare.figures.items():
        without = [key.name for key in figure.legend if key.name not in toggled(figure)]
        assert without == ["smaller than the margin"] * (name == "effects"), name


def test_tables_for_latex(bare: Made, tmp_path: Path) -> None:
    one = bare.folder / "alpha=iid,seed=0"
    report(one, tmp_path / "report.html")
    assert not list((tmp_path / "tables").glob("*.tex"))
    report(one, tmp_path / "report.html", with_latex=True)
    assert {"results", "design"} <= {path.stem for path in (tmp_path / "tables").glob("*.tex")}
    written = latex.tables(bare.figures)
    assert {"results", "effects", "design"} <= set(written)
    for text in written.values():
        columns = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text)
        assert columns
        count = len(re.sub(r"p\{[^}]*\}", "p", columns[1]))
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        assert all(len(re.findall(r"(?<!\\)&", row)) == count - 1 for row in rows)
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_signs_that_mean_something_to_latex_are_written_out() -> None:
    text = latex.booktabs(pd.DataFrame({"a_b": ["50 %", "x & y"], "n": ["−0.5", "–"]}), "c", "l")
    assert r"a\_b & n \\" in text
    assert r"50 \% & $-$0.5 \\" in text
    assert r"x \& y & -- \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_where_runs_begin_at_an_adapter_round_0_is_called_the_start(bare: Made, tmp_path: Path) -> None:
    """Whatever is set off against round 0 would else be said to be set off against the bare base."""
    begun = write_study(tmp_path / "begun", make_study(num_seeds=2, lora={"start": "before"}))
    html = report(begun, with_latex=True).read_text()
    base = page(bare.results, bare.figures)
    assert "untrained base" in base
    assert "the model before training" not in base
    assert "the model before training" in html
    text = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    for wrong in (r"untrained", r"[−-] ?base\b", r"(against|minus|above|over) (the )?base\b", ">base<"):
        assert not re.findall(rf".{{20}}{wrong}.{{20}}", text, flags=re.S), wrong
    assert "untrained base" not in html, "the charts' legends and traces too"
    tables = [file.read_text() for file in (begun / "tables").glob("*.tex")]
    assert any("against base" in table for table in latex.tables(bare.figures).values())
    assert not any("against base" in table for table in tables)
    for folder, words in ((bare.folder, "base"), (begun, "start")):
        console = Console(width=200)
        with console.capture() as shown:
            console.print(results_table(folder))
        assert f"− {words}" in shown.get()
        assert f"against {words}" in " ".join(shown.get().split())


def test_a_figure_of_0_1_0_is_still_in_the_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deprecated.cache_clear()
    register = figures.register()
    assert "cllora.reports.figures.register is now sections.register" in caplog.text

    @register
    def best_round(runs: Runs) -> Figure:
        """The round after which the global model was best."""
        table = runs.outcomes[["cell", "seed", "best_round", "best_loss"]]
        earliest = int(runs.results["best_round"].min())
        plots = (Plot(go.Figure(go.Bar(x=table["cell"], y=table["best_round"], name="bars")), "the best rounds"),)
        return Figure("Best round", f"No cell was best before round {earliest}.", plots, table=table)

    runs = read_runs(write_study(tmp_path, make_study()))
    assert "best_round" in in_order()
    figure = drawn("best_round", runs)
    html = page(runs, {"best_round": figure})
    assert "No cell was best before round " in html
    figure.plots[0].chart.update_layout(height=123)
    assert "min-height:123px" in page(runs, {"best_round": figure})
    assert toggled(figure) == {"bars"}
    assert figure.table.columns.tolist() == ["cell", "seed", "best_round", "best_loss"]
