"""The report on folders of made-up runs: laws for every figure, and that its sentences say what the data says."""

import functools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cllora import store
from cllora.errors import UsageError
from cllora.reports import Figure, Runs, figures, read_runs, report
from cllora.reports.answer import answer
from cllora.reports.page import page
from cllora.reports.sections import in_order
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
    """A function to a kind's figure by name, drawn once."""
    return functools.cache(lambda kind, name: figures.get(name)(read[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", figures.names())
def test_every_figure_draws_and_concludes_in_one_sentence(
    name: str, kind: str, drawn: Callable[[str, str], Figure]
) -> None:
    figure = drawn(kind, name)
    assert isinstance(figure, Figure)
    assert figure.title
    assert figure.conclusion.endswith(".")
    assert "nan" not in figure.conclusion.lower()
    assert not re.search(r"\. [A-Z]", figure.conclusion), "one sentence"
    assert all(note.endswith(".") for note in figure.notes)
    for plot in figure.plots:
        assert len(plot.alt) > 20
        assert "nan" not in plot.alt.lower()
        assert plot.chart.data
        json.loads(plot.chart.to_json())


@pytest.mark.parametrize("name", figures.names())
def test_every_figure_has_a_caption(name: str) -> None:
    assert figures.help(name)


def test_every_figure_is_in_the_report_once() -> None:
    assert sorted(in_order()) == sorted(figures.names())


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_stands_alone(kind: str, read: dict[str, Runs], drawn: Callable[[str, str], Figure]) -> None:
    every = {name: drawn(kind, name) for name in in_order()}
    html = page(read[kind], {name: figure for name, figure in every.items() if figure.measured})
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
    tables = {"runs", *(name for name, figure in measured.items() if len(figure.table))}
    assert {file.stem for file in (tmp_path / "deeper" / "tables").iterdir()} == tables


@pytest.mark.parametrize("name", ["", "page", "page.htm"])
def test_out_names_a_page(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the page, such as report"):
        report(folders["study"], tmp_path / name)


def test_by_default_the_report_goes_into_the_folder(folders: dict[str, Path]) -> None:
    assert report(folders["study"]) == folders["study"] / "report.html"
    runs = pd.read_csv(folders["study"] / "tables" / "runs.csv")
    assert runs["cell"].tolist() == ["alpha = 0.1", "alpha = iid"]


def test_names_cannot_break_the_page(read: dict[str, Runs]) -> None:
    evil = "</script><b>"
    runs = replace(read["single run"], name=evil)
    html = page(runs, {name: figures.get(name)(runs) for name in ("global_loss", "design", "methods")})
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
    found = read["two axes"].contrasts("final_loss")
    assert found["cell"].tolist() == [
        "alpha = 0.1, strategy = fedavg",
        "alpha = 0.1, strategy = fedadam(server_lr=0.1)",
    ]
    assert found["control"].tolist() == [cell.replace("0.1,", "iid,") for cell in found["cell"]]


def test_one_seed_says_so_and_gives_no_interval(read: dict[str, Runs]) -> None:
    said = figures.get("global_loss")(read["study"]).conclusion
    assert said.startswith("One seed cannot tell whether the final global loss differs: it was ")
    assert "interval" not in said


def made_up(read: dict[str, Runs], losses: dict[tuple[str, int], float]) -> Runs:
    """The runs with two seeds, but with these final losses."""
    runs = read["seeds"]
    members = [
        replace(run, outcome={**run.outcome, "final_loss": losses[run.labels["alpha"], run.seed]})
        for run in runs.members
    ]
    return replace(runs, members=members)


@pytest.mark.parametrize(("shift", "way"), [(0.5, "higher"), (-0.5, "lower")])
def test_the_direction_is_the_data_s(shift: float, way: str, read: dict[str, Runs]) -> None:
    losses = {("0.1", 0): 3 + shift, ("0.1", 1): 3.1 + shift * 1.01, ("iid", 0): 3.0, ("iid", 1): 3.1}
    said = figures.get("global_loss")(made_up(read, losses)).conclusion
    assert re.fullmatch(rf"The final global loss was .*0\.50\d+ {way} than at alpha = iid \(95 % interval .*\)\.", said)


def test_a_difference_within_the_noise_is_none(read: dict[str, Runs]) -> None:
    runs = made_up(read, {("0.1", 0): 3.5, ("0.1", 1): 2.7, ("iid", 0): 3.0, ("iid", 1): 3.1})
    assert figures.get("global_loss")(runs).conclusion.startswith("No clear difference in the final global loss")
    assert len(answer(runs).sentences) == 1


def test_a_clear_difference_never_reads_as_zero(read: dict[str, Runs]) -> None:
    runs = made_up(read, {("0.1", 0): 3.00011, ("0.1", 1): 3.00012, ("iid", 0): 3.0, ("iid", 1): 3.0})
    said = figures.get("global_loss")(runs).conclusion
    assert "higher" in said
    assert "0.000 " not in said


def test_without_a_control_no_difference_is_claimed(read: dict[str, Runs]) -> None:
    runs = read["no control"]
    assert runs.controls == []
    assert "without a control no difference is tested" in figures.get("global_loss")(runs).conclusion
    assert runs.class_names == ["class 1 (smallest)", *(f"class {c}" for c in range(2, 6))]


def test_unfinished_runs_are_named_and_not_compared(read: dict[str, Runs]) -> None:
    figure = figures.get("global_loss")(read["unfinished"])
    assert figure.notes[0].startswith("Unfinished: alpha = 0.1, seed 0 stopped after round 1 of 3.")
    assert figure.conclusion.startswith("No cell can be compared with its control yet")


def test_cells_not_begun_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folders["study"], study)
    shutil.rmtree(study / "alpha=iid,seed=0")
    runs = read_runs(study)
    assert runs.controls == []
    assert "Not begun: alpha=iid,seed=0." in figures.get("global_loss")(runs).notes


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
    assert "was not recorded" in figures.get("communication")(runs).conclusion
    assert "not recorded" in figures.get("methods")(runs).table["value"].tolist()


def test_what_costs_no_less_than_the_full_model_saves_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders["single run"], run)
    environment = store.read_json(run / "environment.json")
    environment["communication"]["full_bytes"] = 1
    store.write_json(run / "environment.json", environment)
    said = figures.get("communication")(read_runs(run)).conclusion
    assert said.endswith("MB for as many messages would have been no more.")
    assert "%" not in said


def test_warnings_of_the_partition_are_plain_sentences(folders: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folders["study"], study)
    path = study / "alpha=0.1,seed=0" / "partition.json"
    store.write_json(path, {**store.read_json(path), "warnings": ["clients overlap"]})
    assert "Clients overlap (alpha = 0.1)." in figures.get("partition")(read_runs(study)).notes


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_rounds_is_a_user_s_mistake(empty: bool, tmp_path: Path) -> None:
    if not empty:
        store.begin(tmp_path / "run", make_study().cells()[0].experiment)
    with pytest.raises(UsageError, match="no run with a finished round"):
        read_runs(tmp_path)
