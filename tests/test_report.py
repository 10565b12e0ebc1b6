"""The report on folders of made-up runs: laws for every section, and that its facts are what the data says."""

import functools
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.io.json import to_json_plotly

from cllora import store
from cllora.analysis import Results as Runs
from cllora.analysis import results as read_runs
from cllora.errors import UsageError
from cllora.reports import Comparison, Figure, NotMeasured, Range, Section, Statement, report, say, sections
from cllora.reports.answer import answer
from cllora.reports.page import page
from cllora.reports.section import in_order
from support.reports import drawn as draw
from support.reports import section
from support.synthetic import make_study, write_run, write_study

KINDS = (
    "study",
    "single run",
    "unfinished",
    "two axes",
    "no local tests",
    "seeds",
    "no control",
    "no rounds but the first",
)


def write_kind(folder: Path, kind: str) -> Path:
    if kind == "single run":
        return write_run(folder, make_study().cells()[0])
    if kind == "unfinished":
        study = make_study()
        write_study(folder, study)
        skewed = study.cells()[0]
        shutil.rmtree(folder / skewed.name)
        write_run(folder / skewed.name, skewed, stop=1)
        return folder
    if kind == "no rounds but the first":
        return write_run(folder, make_study().cells()[0], stop=0)
    if kind == "two axes":
        grid = {
            "partition.alpha": [0.1, "iid"],
            "federation.strategy": ["fedavg", {"name": "fedadam", "server_lr": 0.1}],
        }
        return write_study(folder, make_study(grid=grid))
    if kind == "no control":
        return write_study(folder, make_study(grid={"partition.classes": [3, 5]}, control={}))
    if kind == "no local tests":
        return write_study(folder, make_study(local_test=0.0))
    return write_study(folder, make_study(num_seeds=2 if kind == "seeds" else 1))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write_kind(tmp_path_factory.mktemp("runs") / "it", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def read(folders: dict[str, Path]) -> dict[str, Runs]:
    return {kind: read_runs(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def drawn(read: dict[str, Runs]) -> Callable[[str, str], Figure]:
    """A function to a kind's section by name, drawn once."""
    return functools.cache(lambda kind, name: draw(name, read[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sections.names())
def test_every_section_draws_and_says_each_fact_in_a_sentence(
    name: str, kind: str, drawn: Callable[[str, str], Figure]
) -> None:
    figure = drawn(kind, name)
    assert isinstance(figure, Figure)
    assert figure.title
    assert figure.conclusion.endswith(".")
    assert not re.search(r"\bnan\b|,,|\.\.|  |the the", figure.conclusion.lower())
    assert all(note.endswith(".") for note in figure.notes)
    for plot in figure.plots:
        assert len(plot.alt) > 20
        assert "nan" not in plot.alt.lower()
        on_the_page = json.loads(to_json_plotly(plot.content()))
        assert on_the_page["data"]
        checked = json.loads(go.Figure(on_the_page).to_json())
        del checked["layout"]["template"]
        assert checked == on_the_page, "Plotly takes every name and value of the chart as it is"


def test_however_pandas_keeps_text_results_are_the_same(folders: dict[str, Path]) -> None:
    """Tests have text as the report has it, in Python's; who reads results has them as pandas itself would."""
    found = []
    for storage in ("python", "auto"):
        with pd.option_context("mode.string_storage", storage):
            results = read_runs(folders["two axes"])
            tables = (results.metrics, results.summary, results.clients, results.losses, results.contrasts("late_loss"))
            found.append([table.to_csv() for table in tables])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", sections.names())
def test_every_section_has_a_caption(name: str) -> None:
    assert sections.help(name)


def test_every_section_is_in_the_report_once() -> None:
    assert sorted(in_order()) == sorted(sections.names())
    assert (in_order()[0], in_order()[-1]) == ("design", "methods")


def test_a_section_is_read_where_it_says() -> None:
    made = Section((Statement("It is there."),))
    sections.register("mine", after="effects")(lambda results: made)
    sections.register("nowhere")(lambda results: made)
    order = in_order()
    assert order[order.index("effects") + 1] == "mine"
    assert order[-2:] == ["nowhere", "methods"]
    sections.register("lost", after="efects")(lambda results: made)
    with pytest.raises(UsageError, match="section 'lost' is to come after 'efects'; did you mean 'effects'"):
        in_order()


def test_sections_that_wait_for_each_other_are_a_mistake() -> None:
    for name, after in (("one", "other"), ("other", "one")):
        sections.register(name, after=after)(lambda results: Section(()))
    with pytest.raises(UsageError, match="'one' is to come after 'other', and that after 'one'"):
        in_order()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_stands_alone(kind: str, read: dict[str, Runs], drawn: Callable[[str, str], Figure]) -> None:
    every = {name: drawn(kind, name) for name in in_order()}
    measured = {name: figure for name, figure in every.items() if figure.measured}
    html = page(read[kind], measured)
    there = set(re.findall(r'<section id="(\w+)"', html))
    assert {name for name, figure in measured.items() if figure.plots} <= there
    assert not there & (every.keys() - measured.keys())
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert html.count("<figure>") == html.count('role="img"') > 0
    assert ">nan<" not in html


def test_the_report_is_the_page_and_its_tables(
    folders: dict[str, Path], read: dict[str, Runs], drawn: Callable[[str, str], Figure], tmp_path: Path
) -> None:
    """Where it is told to be, of what was measured; that it is drawn anew changes nothing."""
    path = report(folders["single run"], tmp_path / "deeper" / "page.html")
    assert path == tmp_path / "deeper" / "page.html"
    every = {name: drawn("single run", name) for name in in_order()}
    measured = {name: figure for name, figure in every.items() if figure.measured}
    assert 0 < len(measured) < len(every)
    assert path.read_text(encoding="utf-8") == page(read["single run"], measured)
    tables = {"runs": read["single run"].metrics, **{name: figure.table for name, figure in measured.items()}}
    written = {file.stem: file.read_text(encoding="utf-8") for file in (tmp_path / "deeper" / "tables").iterdir()}
    assert written == {name: table.to_csv(index=False) for name, table in tables.items() if len(table)}


@pytest.mark.parametrize("name", ["", "page", "page.htm"])
def test_out_names_a_page(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the page, such as report"):
        report(folders["study"], tmp_path / name)


def test_by_default_the_report_goes_into_the_folder(folders: dict[str, Path]) -> None:
    folder = folders["no rounds but the first"]
    assert report(folder) == folder / "report.html"
    assert pd.read_csv(folder / "tables" / "runs.csv")["rounds"].tolist() == [0]


def test_names_cannot_break_the_page(read: dict[str, Runs]) -> None:
    evil = "</script><b>"
    runs = replace(read["single run"], name=evil)
    html = page(runs, {name: draw(name, runs) for name in ("global_loss", "design", "methods")})
    assert evil not in html


def test_a_study_is_read_in_its_own_order_and_against_its_control(read: dict[str, Runs]) -> None:
    runs = read["study"]
    assert runs.cells == ["alpha = 0.1", "alpha = iid"]
    assert runs.controls == ["alpha = iid"]
    assert (runs.axes, runs.control) == ({"alpha": "partition.alpha"}, {"alpha": "iid"})


def test_without_a_study_the_axes_are_what_differs(folders: dict[str, Path], tmp_path: Path) -> None:
    for run in folders["seeds"].iterdir():
        if run.is_dir() and (run / "spec.json").is_file():
            shutil.copytree(run, tmp_path / "deeper" / run.name)
    runs = read_runs(tmp_path)
    assert runs.axes == {"alpha": "partition.alpha"}
    assert runs.cells == ["alpha = 0.1", "alpha = iid"]
    assert runs.controls == ["alpha = iid"]
    assert runs.seeds == [0, 1]


def test_two_axes_compare_within_the_other_axis(read: dict[str, Runs]) -> None:
    found = read["two axes"].contrasts("late_loss")
    assert found["cell"].tolist() == [
        "alpha = 0.1, strategy = fedavg",
        "alpha = 0.1, strategy = fedadam(server_lr=0.1)",
    ]
    assert found["control"].tolist() == [cell.replace("0.1,", "iid,") for cell in found["cell"]]


def test_one_seed_says_so_and_gives_no_interval(read: dict[str, Runs]) -> None:
    (fact,) = section("global_loss", read["study"]).facts
    assert isinstance(fact, Comparison)
    assert (fact.contrast.metric, fact.contrast.seeds, fact.clear) == ("late_loss", 1, False)
    assert math.isnan(fact.contrast.low)


def made_up(read: dict[str, Runs], losses: dict[tuple[str, int], float]) -> Runs:
    """The runs with two seeds, but with these final losses."""
    runs = read["seeds"]
    members = [
        replace(run, outcome={**run.outcome, "late_loss": losses[run.labels["alpha"], run.seed]})
        for run in runs.members
    ]
    return replace(runs, members=members)


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_the_direction_is_the_data_s(shift: float, read: dict[str, Runs]) -> None:
    losses = {("0.1", 0): 3 + shift, ("0.1", 1): 3.1 + shift * 1.01, ("iid", 0): 3.0, ("iid", 1): 3.1}
    (fact,) = section("global_loss", made_up(read, losses)).facts
    assert fact.clear
    assert fact.contrast.difference == pytest.approx(shift, rel=0.01)


def test_a_difference_within_the_noise_is_none(read: dict[str, Runs]) -> None:
    runs = made_up(read, {("0.1", 0): 3.5, ("0.1", 1): 2.7, ("iid", 0): 3.0, ("iid", 1): 3.1})
    (fact,) = answer(runs).section.facts
    assert not fact.clear
    assert say(*section("global_loss", runs).facts) == say(fact)


def test_a_clear_difference_never_reads_as_zero(read: dict[str, Runs]) -> None:
    runs = made_up(read, {("0.1", 0): 3.00011, ("0.1", 1): 3.00012, ("iid", 0): 3.0, ("iid", 1): 3.0})
    said = say(section("global_loss", runs).facts[0])
    assert "higher" in said
    assert "0.000 " not in said


def test_without_a_control_no_difference_is_claimed(read: dict[str, Runs]) -> None:
    runs = read["no control"]
    assert runs.controls == []
    (fact,) = section("global_loss", runs).facts
    assert isinstance(fact, Range)
    assert list(fact.values) == runs.cells
    assert "no difference is tested" in fact.reason
    assert runs.class_names == ["class 1 (smallest)", *(f"class {c}" for c in range(2, 6))]


def test_unfinished_runs_are_named_and_not_compared(read: dict[str, Runs]) -> None:
    made = section("global_loss", read["unfinished"])
    assert made.notes[0].startswith("Unfinished: alpha = 0.1, seed 0 stopped after round 1 of 3.")
    assert made.facts == (NotMeasured("late_loss", "No cell can be compared with its control yet"),)


def test_cells_not_begun_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folders["study"], study)
    shutil.rmtree(study / "alpha=iid,seed=0")
    runs = read_runs(study)
    assert runs.controls == []
    assert "Not begun: alpha=iid,seed=0." in section("global_loss", runs).notes


def test_losses_beyond_the_last_whole_round_are_left_out(folders: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders["single run"], run)
    lines = (run / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run / "rounds.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    assert read_runs(run).members[0].outcome["rounds"] == 2


def test_without_an_environment_nothing_is_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders["single run"], run)
    (run / "environment.json").unlink()
    runs = read_runs(run)
    assert isinstance(section("communication", runs).facts[1], NotMeasured)
    assert "not recorded" in section("methods", runs).table["value"].tolist()


def test_what_costs_no_less_than_the_full_model_saves_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders["single run"], run)
    environment = store.read_json(run / "environment.json")
    environment["communication"]["full_bytes"] = 1
    store.write_json(run / "environment.json", environment)
    sent, saved = section("communication", read_runs(run)).facts
    assert isinstance(sent, Range)
    assert isinstance(saved, Statement)
    assert saved.numbers["saved"] < 0
    assert "%" not in say(saved)


def test_warnings_of_the_partition_are_plain_sentences(folders: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folders["study"], study)
    path = study / "alpha=0.1,seed=0" / "partition.json"
    store.write_json(path, {**store.read_json(path), "warnings": ["clients overlap"]})
    assert "Clients overlap (alpha = 0.1)." in section("partition", read_runs(study)).notes


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_rounds_is_a_user_s_mistake(empty: bool, tmp_path: Path) -> None:
    if not empty:
        store.begin(tmp_path / "run", make_study().cells()[0].experiment)
    with pytest.raises(UsageError, match="no run with a finished round"):
        read_runs(tmp_path)


def test_a_section_of_one_sentence_is_a_section_and_one_of_nothing_is_named_at_the_end(read: dict[str, Runs]) -> None:
    runs = read["no local tests"]
    html = page(runs, {name: draw(name, runs) for name in ("fairness", "signatures")})
    assert '<section id="signatures"' in html
    assert '<section id="fairness"' not in html
    assert '<section id="not_measured"' in html
