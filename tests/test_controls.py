"""Controls that are drawn again: the same split, all else drawn anew, and what chance alone makes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from tests.support.studies import study_fields
from tests.support.synthetic import make_study, write_study
from typer.testing import CliRunner

import cllora
from cllora import store
from cllora.analysis import Chance, Results, chance, with_chance
from cllora.cli import app
from cllora.errors import UsageError
from cllora.federated.rounds import chosen_clients
from cllora.reports.say import say
from cllora.reports.section import made as section
from cllora.spec import Experiment, Study
from cllora.stats import estimate, interval


def test_a_control_is_drawn_again_in_every_seed() -> None:
    study = make_study((0.1, 100, "iid"), num_seeds=2, controls=3)
    again = [cell for cell in study.cells() if cell.experiment.redraw]
    assert [cell.name for cell in again] == [f"alpha=iid,redraw={d},seed={s}" for d in (1, 2) for s in (0, 1)]
    assert {cell.setting for cell in again} == {"alpha=iid"}
    assert Study.parse(study.to_mapping()) == study
    assert study.cells()[:6] == make_study((0.1, 100, "iid"), num_seeds=2).cells()


def test_of_several_axes_that_the_control_leaves_open_each_has_its_own() -> None:
    grid = {"grid": {"partition.alpha": [0.1, "iid"], "lora.r": [1, 2]}}
    again = [cell.name for cell in make_study(controls=2, **grid).cells() if cell.experiment.redraw]
    assert again == ["alpha=iid,r=1,redraw=1,seed=0", "alpha=iid,r=2,redraw=1,seed=0"]


def test_the_first_draw_is_what_it_was() -> None:
    """Ids, and so folders, of experiments without a redraw are those from before there was one."""
    assert Experiment().chance == 0
    assert "redraw" not in json.loads(Experiment().to_json())
    assert Experiment(redraw=1).id != Experiment().id
    draws = {Experiment(seed=seed, redraw=redraw).chance for seed in range(5) for redraw in range(5)}
    assert len(draws) == 25


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["controls=0"], "controls: "),
        (["controls=2", "control={}"], "give control"),
        (["grid.redraw=[0, 1]"], "redraw is no axis; give controls: 2"),
        (["redraw=1"], "unknown field 'redraw'"),
    ],
)
def test_what_cannot_be_drawn_again_is_one_line(settings: list[str], line: str) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    shown = CliRunner().invoke(app, ["show", "demo", *options])
    assert line in shown.output + str(shown.exception)


def test_the_split_is_the_same_and_all_else_is_another_draw(tiny_models, texts, tmp_path: Path) -> None:
    fields = study_fields(tiny_models("opt"), texts, federation={"num_rounds": 2, "clients_per_round": 2})
    out = cllora.run(Study.parse({**fields, "controls": 2}), tmp_path)
    first, again = (out / f"alpha=iid,{draw}seed=0" for draw in ("", "redraw=1,"))
    before, after = (store.read_partition(run) for run in (first, again))
    assert np.array_equal(before.global_test, after.global_test)
    assert set(before.train_ids) | set(before.test_ids) == set(after.train_ids) | set(after.test_ids)
    assert not np.array_equal(before.train_ids, after.train_ids)
    base, other = (store.read_rounds(run)[0]["global_loss"] for run in (first, again))
    assert base == pytest.approx(other, abs=1e-6)
    experiments = [store.read_experiment(run) for run in (first, again)]
    drawn = [[chosen_clients(asked, number) for number in range(1, 30)] for asked in experiments]
    assert drawn[0] != drawn[1]
    results = cllora.results(out)
    assert [run.folder.name for run in results.again] == ["alpha=iid,redraw=1,seed=0"]
    assert len(results.members) == len(results.metrics) == 2
    made = chance(results, "late_loss")
    assert made is not None
    ends = [results.metrics.set_index("cell").loc["alpha = iid", "late_loss"], results.again[0].outcome["late_loss"]]
    assert made.by_seed == pytest.approx([ends[1] - ends[0]])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    study = make_study((0.1, "iid"), num_seeds=8, controls=2)
    return cllora.results(write_study(tmp_path_factory.mktemp("runs"), study))


def test_what_chance_makes_is_between_controls_alone(results: Results) -> None:
    made = chance(results, "late_loss")
    assert made is not None
    first = {run.seed: run.outcome["late_loss"] for run in results.members if run.labels["alpha"] == "iid"}
    expected = [run.outcome["late_loss"] - first[run.seed] for run in results.again]
    assert made.by_seed.tolist() == expected
    assert (made.difference, made.low, made.high) == (estimate(expected), *interval(expected))
    assert set(with_chance(results, results.contrasts("late_loss"))["chance"]) == {made.of_one_seed}
    assert chance(results, "local_loss") is None  # of clients' own texts, which another deal changes
    assert chance(results, "time_ratio") is None
    assert chance(replace(results, again=[]), "late_loss") is None


def test_one_seed_stays_below_its_size_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(4000):
        *seeds, one = rng.normal(0, 3, 9)
        inside.append(abs(one) < Chance("late_loss", np.array(seeds), 0.0, 0.0, 0.0).of_one_seed)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.01)
    many = Chance("late_loss", rng.normal(0, 3, 100_000), 0.0, 0.0, 0.0).of_one_seed
    assert many == pytest.approx(3 * norm.ppf(0.975), rel=0.01)


def test_the_report_says_what_one_seed_shows_by_chance(results: Results) -> None:
    made = section("effects", results)
    sentence = say(made.facts[1])
    assert sentence.startswith("Two controls of a seed that differ in nothing but what is drawn are up to ")
    assert "8 pairs; typically they differ by" in sentence
    (spec,) = made.figures
    assert spec.table.loc[spec.table["metric"] == "late_loss", "chance"].notna().all()
    assert len(section("effects", replace(results, again=[])).facts) == 1
    apart = [replace(run, outcome={**run.outcome, "late_loss": run.outcome["late_loss"] + 1}) for run in results.again]
    assert "yet typically they differ by" in say(section("effects", replace(results, again=apart)).facts[1])


def test_a_folder_without_its_study_tells_draws_apart(results: Results, tmp_path: Path) -> None:
    write_study(tmp_path, make_study((0.1, "iid"), num_seeds=1, controls=2))
    (tmp_path / "study.json").unlink()
    assert "redraw" in cllora.results(tmp_path).axes


def test_a_control_that_was_not_drawn_again_yet_is_missing(tmp_path: Path) -> None:
    study = make_study((0.1, "iid"), controls=2)
    write_study(tmp_path, make_study((0.1, "iid")))
    store.write_json(tmp_path / "study.json", study.to_mapping())
    assert cllora.results(tmp_path).missing == ["alpha=iid,redraw=1,seed=0"]
    with pytest.raises(UsageError, match="give control"):
        make_study((0.1, 1), controls=2)
