"""What may stand in one mean, in one pair and in one sentence."""

import io
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cllora import store
from cllora.analysis import Results as Runs
from cllora.analysis import results as read_runs
from cllora.analysis.names import class_names, feature_text
from cllora.errors import UsageError
from cllora.reports import Comparison, Range, Statement, effect, results_table, say
from cllora.reports.answer import answer
from cllora.reports.page import page
from cllora.reports.section import in_order, sections
from cllora.spec import Choice
from cllora.types import DataRecord, Environment
from support.reports import drawn, section, with_losses
from support.synthetic import make_partition, make_study, write_run, write_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "study", make_study((0.1, 1, "iid"), num_seeds=3))


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    return read_runs(folder)


def fact_of(runs: Runs) -> Comparison:
    fact = effect(runs, "late_loss")
    assert isinstance(fact, Comparison)
    return fact


def numbers_of(runs: Runs, number: str) -> list[float]:
    """The numbers of that name in the statements of the first screen."""
    facts = [fact for fact in answer(runs).section.facts if isinstance(fact, Statement)]
    return [fact.numbers[number] for fact in facts if number in fact.numbers]


def test_what_failed_is_on_the_page_with_its_reason(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "study")
    failed = tmp_path / "study" / "alpha=1,seed=2"
    shutil.rmtree(failed)
    failed.mkdir()
    store.write_json(failed / "failed.json", {"error": "cannot load the model"})
    runs = read_runs(tmp_path / "study")
    assert [numbers_of(runs, name) for name in ("finished", "runs", "failed")] == [[8], [9], [1]]
    assert section("design", runs).notes == ("Failed: alpha=1,seed=2: cannot load the model",)


def test_the_first_figure_has_room_for_the_largest_differences_only(runs: Runs) -> None:
    many = [
        replace(run, labels={"alpha": f"{k}"}, outcome={**run.outcome, "late_loss": 3 + 0.01 * k * (-1) ** k})
        for k in range(1, 21)
        for run in runs.members
        if run.labels["alpha"] == "0.1"
    ]
    controls = [run for run in runs.members if run.labels["alpha"] == "iid"]
    (forest,) = answer(replace(runs, members=[*many, *controls])).section.figures
    assert "the 12 largest of 20 differences" in forest.title
    assert len(forest.table) == 12


def of_seeds(runs: Runs, losses: tuple[float, ...]) -> Runs:
    """The runs at 0.1 and their controls, over as many seeds, with these differences in global loss."""
    of = {run.labels["alpha"]: run for run in runs.members}
    members = [
        replace(
            of[alpha],
            experiment=of[alpha].experiment.model_copy(update={"seed": seed}),
            outcome={**of[alpha].outcome, "late_loss": 3 + (alpha == "0.1") * loss},
        )
        for alpha in ("0.1", "iid")
        for seed, loss in enumerate(losses)
    ]
    return replace(runs, members=members, asked_seeds=tuple(range(len(losses))))


LOTTERY = (0.001, 0.002, 0.0, 0.003, -0.001, 0.002, 0.001, 2.0, 0.0, 1.9)
"""Two of ten seeds are far off: the mean is not what a seed comes to."""


def test_a_mean_that_few_seeds_carry_is_told_beside_the_typical_difference(runs: Runs) -> None:
    few = of_seeds(runs, LOTTERY)
    said = [say(fact) for fact in answer(few).section.facts]
    assert (
        "Few seeds carry the mean of the difference at alpha = 0.1: it is +0.391, the typical one +0.002; 7 of 10 "
        "seeds were worse, the worst by +2.000."
    ) in said
    assert "the worst by +2.000." in results_table(few).caption
    assert any(note.startswith("In ") and "few seeds carry the mean" in note for note in section("effects", few).notes)
    calm = [say(fact) for fact in answer(of_seeds(runs, tuple(x / 2000 for x in LOTTERY))).section.facts]
    assert not any("Few seeds" in text for text in calm)


def test_where_seeds_are_too_few_for_an_interval_over_all_comparisons_that_is_said(runs: Runs) -> None:
    """Of eight seeds ranks have no interval at a level beyond 99.2 %: none is given, and none without ends."""
    (row,) = [fact_of(of_seeds(runs, LOTTERY[:8])).contrast]
    nine = replace(row, comparisons=9, low_holm=math.nan, high_holm=math.nan)
    assert "(the largest of 9; 8 seeds are too few for a 95 % interval over all 9 comparisons)" in say(Comparison(nine))


def test_a_study_that_is_looked_at_more_than_once_tells_the_level_that_it_has(runs: Runs) -> None:
    """Its intervals are wider; no sentence, heading or caption calls them 95 %."""
    looked_at = replace(runs, level=0.99)
    every = {name: drawn(name, looked_at) for name in in_order()}
    assert "99 % interval" in every["global_loss"].conclusion
    assert "(99 % interval" in " ".join(what for _, what in answer(looked_at).numbers)
    texts = {
        name: " ".join([figure.conclusion, *figure.notes, *(plot.alt for plot in figure.plots), sections.help(name)])
        for name, figure in every.items()
        if name != "update_geometry"  # of one run's pairs of clients: no looks
    }
    for name, figure in every.items():
        assert "95 %" not in texts.get(name, ""), name
        assert figure.shown is None or "95 %" not in figure.shown.to_csv(), name
    assert {row.level for row in looked_at.comparisons("late_loss")} == {0.99}


def test_the_first_screen_names_cells_so_that_they_can_be_told_apart(runs: Runs) -> None:
    two = replace(
        runs,
        axes={"alpha": "partition.alpha", "r": "lora.r"},
        control={"alpha": "iid", "r": "2"},
        members=[replace(run, labels={**run.labels, "r": "2"}) for run in runs.members],
    )
    headline = answer(two).headline
    assert headline is not None
    assert "(alpha = 0.1, r = 2)" in say(headline)
    full = [replace(run, outcome={**run.outcome, "saved": -0.0002}) for run in runs.members[:3]]
    assert answer(replace(runs, members=[*full, *runs.members[3:]])).numbers[-1][0].startswith("0.0 to ")


def test_a_copy_of_a_run_is_no_seed(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder / "alpha=iid,seed=0", tmp_path / name)
    with pytest.raises(UsageError, match=r"one and .*two are the same run"):
        read_runs(tmp_path)


def test_means_are_over_finished_runs(folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folder, study)
    for alpha, seeds in (("0.1", (2,)), ("1", (0, 1, 2))):
        for seed in seeds:
            name = f"alpha={alpha},seed={seed}"
            shutil.rmtree(study / name)
            cell = next(each for each in make_study((0.1, 1, "iid"), num_seeds=3).cells() if each.name == name)
            write_run(study / name, cell, stop=1)
    runs = read_runs(study)
    assert runs.averaged.groupby("cell", sort=False)["seed"].count().tolist() == [2, 3, 3]
    shown = drawn("results", runs).shown
    assert shown is not None
    assert shown["finished seeds"].tolist() == ["2 of 3", "0 of 3", "3"]
    assert runs.contrasts("late_loss")["seeds"].tolist() == [2, 0]
    assert set(runs.final("curve").query("cell == 'alpha = 0.1'")["round"]) == {3}


def test_the_chosen_comparison_answers_for_all(runs: Runs) -> None:
    seen = with_losses(runs, {"0.1": (3.2, 3.21, 3.19), "1": (3.1, 3.3, 3.0), "iid": (3.0, 3.0, 3.0)})
    fact = fact_of(seen)
    row = fact.contrast
    assert (row.cell, row.comparisons, fact.clear) == ("alpha = 0.1", 2, True)
    assert row.low_holm < row.low < row.high < row.high_holm


def test_what_is_clear_alone_but_not_among_all_is_not_called_clear(runs: Runs) -> None:
    seen = with_losses(runs, {"0.1": (3.067, 3.1, 3.133), "1": (3.0, 3.01, 2.99), "iid": (3.0, 3.0, 3.0)})
    fact = fact_of(seen)
    assert fact.contrast.low > 0 > fact.contrast.low_holm
    assert not fact.clear


def test_a_comparison_without_pairs_is_not_counted(runs: Runs) -> None:
    seen = with_losses(runs, {"0.1": (3.2, 3.21, 3.19), "1": (), "iid": (3.0, 3.0, 3.0)})
    assert fact_of(seen).contrast.comparisons == 1


def test_equal_means_in_doubt_are_no_clear_difference(runs: Runs) -> None:
    seen = with_losses(runs, {"0.1": (2.0, 3.0, 4.0), "1": (), "iid": (3.0, 3.0, 3.0)})
    fact = fact_of(seen)
    assert (fact.clear, fact.contrast.mean, fact.contrast.difference, fact.contrast.shows) == (False, 3, 0, "undecided")
    one = with_losses(runs, {"0.1": (3.0,), "1": (), "iid": (3.0,)})
    assert (fact_of(one).clear, fact_of(one).contrast.seeds) == (False, 1)
    two = with_losses(runs, {"0.1": (3.0, 3.1), "1": (), "iid": (3.0, 3.0)})
    assert (fact_of(two).clear, fact_of(two).contrast.seeds) == (False, 2)


def test_only_runs_on_the_same_data_are_paired(runs: Runs) -> None:
    other = Environment(data=DataRecord(fingerprint="another"))
    members = [
        replace(run, environment=other) if run.seed == 0 and run.labels["alpha"] == "iid" else run
        for run in runs.members
    ]
    mixed = replace(runs, members=members)
    assert mixed.contrasts("late_loss")["seeds"].tolist() == [2, 2]
    assert numbers_of(mixed, "sets of data") == [2]
    assert numbers_of(runs, "sets of data") == []


def test_the_strength_is_counted_in_pairs(runs: Runs) -> None:
    seen = with_losses(runs, {"0.1": (3.2, 3.21, 3.19), "1": (3.1,), "iid": (3.0, 3.0, 3.0)})
    (fact,) = section("methods", seen).facts
    assert isinstance(fact, Statement)
    assert fact.numbers == {"pairs": 1}
    assert "the split into training and global test texts" in fact.text


def test_both_numbers_of_the_clients_are_of_one_cell(runs: Runs) -> None:
    about = [what for _, what in answer(runs).numbers if "on their own test texts" in what]
    assert len(about) == 2
    assert all(f"at {fact_of(runs).contrast.cell}," in what for what in about)


def test_nothing_varied_is_said_to_be_fixed(tmp_path: Path) -> None:
    grid = {"lora.r": [1, 2], "partition.by.unit": ["characters", "words"]}
    seen = read_runs(write_study(tmp_path, make_study(grid=grid, control={})))
    fixed = dict(section("design", seen).table.to_numpy().tolist())
    assert fixed["r (varied)"] == "1, 2"
    assert not {"LoRA r", "feature"} & set(fixed)
    assert {"lora_alpha", "lora_dropout", "target_modules"} <= set(fixed)


def test_stand_ins_and_what_goes_with_them_are_not_hidden(tmp_path: Path) -> None:
    names = ["embedded-64", "embedded"]
    where = {"model.name": {"embedded-64": {"local.epochs": 10}, "embedded": {"local.epochs": 2}}}
    grid = {"model.name": names, "partition.alpha": ["iid"]}
    seen = read_runs(write_study(tmp_path / "two", make_study(grid=grid, where=where, control={})))
    design = section("design", seen)
    assert dict(design.table.to_numpy().tolist())["local epochs (with what is varied)"] == "10, 2"
    assert design.notes[0].startswith(
        "Briefly trained models of 2 widths stand in for the paper's: embedded-64 (width 64)"
    )
    one = read_runs(write_study(tmp_path / "one", make_study()))
    assert section("design", one).notes == ()


def test_a_feature_is_named_with_its_unit() -> None:
    assert feature_text(Choice(name="length")) == "length in characters"
    assert feature_text(Choice.model_validate({"name": "length", "unit": "words"})) == "length in words"
    assert feature_text(Choice(name="seen_tokens")) == "seen_tokens"
    assert feature_text(Choice.model_validate({"name": "own", "k": 3})) == "own (k = 3)"


def test_ranges_name_classes_only_where_all_runs_cut_alike() -> None:
    partition = make_partition(make_study().cells()[0].experiment)
    assert class_names([partition, partition])[0].startswith("below ")
    first, *others = partition.heterogeneity.classes.described
    moved = replace(partition.heterogeneity.classes, described=(replace(first, below=first.below + 1), *others))
    other = replace(partition, measured=replace(partition.heterogeneity, classes=moved))
    assert class_names([partition, other])[::4] == ["class 1 (smallest)", "class 5 (largest)"]


def test_the_results_are_written_as_numbers(runs: Runs) -> None:
    table = pd.read_csv(io.StringIO(section("results", runs).numbers.to_csv(index=False)))
    numbers = ["mean", "sd", "seeds", "difference", "low", "high", "pairs"]
    assert all(pd.api.types.is_numeric_dtype(table[column]) for column in numbers)
    loss = table[table["metric"] == "late_loss"].set_index("cell")
    assert loss["pairs"].to_dict() == {"alpha = 0.1": 3, "alpha = 1": 3, "alpha = iid": 0}
    shown = drawn("communication", runs).shown
    assert shown is not None
    assert shown["saved"].tolist() == ["99.996 %"] * 3


def test_a_study_s_own_figures_are_in_its_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = tmp_path / "own_figure.py"
    own.write_text(
        "from cllora.reports import Section, Statement, sections\n"
        "@sections.register(title='Of the study', after='effects')\n"
        "def of_the_study(results):\n"
        '    """A section."""\n'
        '    return Section((Statement("It is there."),), table=results.metrics)\n'
    )
    study = write_study(tmp_path / "study", make_study(("iid",), load=[str(tmp_path / "gone.py"), str(own)]))
    with caplog.at_level(logging.WARNING, logger="cllora"):
        runs = read_runs(study)
    assert "It is there." in page(runs, {"of_the_study": drawn("of_the_study", runs)})
    order = in_order()
    assert order.index("of_the_study") == order.index("effects") + 1
    assert "gone.py; the report is made without it" in caplog.text


def test_the_range_of_classes_is_signed_and_of_one_cell(tmp_path: Path) -> None:
    seen = read_runs(write_study(tmp_path, make_study(grid={"partition.alpha": [0.1, 1]}, control={})))
    (fact,) = section("classes", seen).facts
    assert isinstance(fact, Range)
    assert all(name.endswith(" at alpha = 0.1") for name in fact.values)
    assert min(fact.values.values()) < 0


def test_a_seed_not_begun_is_counted_as_asked_for(folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(folder, study)
    for run in study.glob("*,seed=2"):
        shutil.rmtree(run)
    shown = drawn("results", read_runs(study)).shown
    assert shown is not None
    assert shown["finished seeds"].tolist() == ["2 of 3"] * 3
