"""Seeds that are added until a study is decided: when it is looked at, what goes on, and how often it is wrong."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ville
from filelock import FileLock
from numpy.typing import NDArray
from tests.support.synthetic import make_study, write_run
from typer.testing import CliRunner

import cllora
from cllora import stats
from cllora.analysis import read as reading
from cllora.cli import app
from cllora.errors import UsageError
from cllora.metrics import RunRecord
from cllora.presets import find_study
from cllora.runs.engines import Progress, Setting, Work, engines
from cllora.runs.planning import plan, register
from cllora.runs.study_cache import StudyCache
from cllora.runs.work import CellWork
from cllora.spec import Cell, Study

computed: list[str] = []
written: dict[str, Path] = {}
"""Folders of cells by their experiment: those that several tests ask for are made once and copied."""


@pytest.fixture(scope="module", autouse=True)
def place_of_cells(tmp_path_factory: pytest.TempPathFactory) -> None:
    written[""] = tmp_path_factory.mktemp("cells")


def write_cell(folder: Path, cell: Cell) -> None:
    first = written.get(cell.experiment.id)
    if first is None:
        first = written[cell.experiment.id] = write_run(written[""] / cell.experiment.id, cell)
        (first / "adapter").mkdir()
    shutil.copytree(first, folder, dirs_exist_ok=True)


class MadeUp:
    """Writes folders with made-up losses, in which alpha 0.1 costs a quarter of the gain and others nothing."""

    threads = 1

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        for begin in cells:
            computed.append(begin.cell.name)
            write_cell(work.folder / begin.cell.name, begin.cell)
            yield replace(begin, round=begin.rounds)


Compute = Callable[[MadeUp, Work, Sequence[Progress]], Iterator[Progress]]


@pytest.fixture(autouse=True)
def made_up() -> None:
    computed.clear()

    @engines.register("made_up")
    def made_up(setting: Setting) -> MadeUp:
        """Computes nothing."""
        return MadeUp()


def study(most: int, alphas: tuple[Any, ...] = (100, "iid"), **more: Any) -> Study:
    """alpha 0.1 costs a quarter of the gain, which 4 seeds show; alpha 100 nothing, which so small a margin hides."""
    seeds = {"until": "decided", "most": most, "first": 4}
    asked: dict[str, Any] = {"seeds": seeds, "engine": "made_up", "margin": 0.001, **more}
    return make_study(alphas, rounds=1, clients=3, **asked)


def seeds_of(folder: Path, cell: str) -> int:
    return len(list(folder.glob(f"alpha={cell},seed=*")))


def test_a_study_goes_on_with_what_is_open_and_stops_what_is_decided(tmp_path: Path) -> None:
    asked = study(5, (0.1, 100, "iid"))
    folder = cllora.run(asked, tmp_path)
    assert {cell: seeds_of(folder, cell) for cell in ("0.1", "100", "iid")} == {"0.1": 4, "100": 5, "iid": 5}
    results = cllora.results(folder)
    assert (results.missing, list(results.asked_seeds)) == ([], list(range(5)))
    assert results.level == 0.975
    rows = {row.cell: (row.seeds, row.shows, row.level) for row in results.comparisons("late_loss")}
    assert rows == {"alpha = 0.1": (4, "differs", 0.975), "alpha = 100": (5, "undecided", 0.975)}
    computed.clear()
    looked = (folder / "looks.json").read_text()
    cllora.run(asked, tmp_path)
    assert computed == []
    assert (folder / "looks.json").read_text() == looked


def test_a_control_is_drawn_again_as_long_as_it_is_compared(tmp_path: Path) -> None:
    folder = cllora.run(study(5, (0.1, 100, "iid"), controls=2), tmp_path / "open")
    assert [seeds_of(folder, cell) for cell in ("0.1", "iid", "iid,redraw=1")] == [4, 5, 5]
    folder = cllora.run(study(60, (0.1, "iid"), controls=2), tmp_path / "decided")
    assert [seeds_of(folder, cell) for cell in ("0.1", "iid", "iid,redraw=1")] == [4, 4, 4]
    results = cllora.results(folder)
    assert (len(results.members), len(results.again)) == (8, 4)


def test_a_study_ends_where_all_is_decided(tmp_path: Path) -> None:
    folder = cllora.run(study(60, (0.1, "iid")), tmp_path)
    assert [seeds_of(folder, cell) for cell in ("0.1", "iid")] == [4, 4]
    assert cllora.results(folder).level == pytest.approx(1 - 0.05 / 8)


def test_seeds_beyond_the_last_look_do_not_count_before_the_next(tmp_path: Path) -> None:
    """An interruption between two looks leaves some cells of the next; to count them would be a look of its own.

    And another budget is another plan, with looks and a level of its own.
    """
    asked = study(5)
    folder = cllora.run(asked, tmp_path)
    looked = json.loads((folder / "looks.json").read_text())
    (folder / "looks.json").write_text(json.dumps({**looked, "at": looked["at"][:1], "stopped": {}}))
    (row,) = cllora.results(folder).comparisons("late_loss")
    assert row.seeds == 4
    cllora.run(asked, tmp_path)
    assert json.loads((folder / "looks.json").read_text()) == looked
    cllora.run(study(7), tmp_path)
    assert json.loads((tmp_path / "looks.json").read_text())["at"] == [4, 6, 7]
    assert cllora.results(tmp_path).level == pytest.approx(1 - 0.05 / 3)


def test_a_cell_has_one_place_in_a_study_whatever_of_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells together are grouped by their places: other ones would give other groups, and other last digits."""
    places: dict[str, int] = {}
    monkeypatch.setattr(MadeUp, "__call__", _noting(MadeUp.__call__, places))
    folder = cllora.run(study(5, (0.1, 100, "iid")), tmp_path)
    whole = dict(places)
    assert sorted(whole.values()) == [*range(4), *range(5, 15)]  # The fifth seed of alpha 0.1 was not needed.
    for cell in whole:
        shutil.rmtree(folder / cell)
    (folder / "looks.json").unlink()
    done = next(cell for cell in study(5, (0.1, 100, "iid")).cells() if cell.name == "alpha=100,seed=0")
    write_cell(folder / done.name, done)
    places.clear()
    cllora.run(study(5, (0.1, 100, "iid")), tmp_path)
    assert places == {name: place for name, place in whole.items() if name != "alpha=100,seed=0"}


def _noting(compute: Compute, places: dict[str, int]) -> Compute:
    def noted(self: MadeUp, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        places.update({begin.cell.name: begin.index for begin in cells})
        return compute(self, work, cells)

    return noted


def test_what_cells_share_is_made_once_for_all_looks_and_a_finished_run_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[StudyCache] = []
    read: list[Path] = []

    def noted(work: CellWork, folder: Path, files: tuple[str, ...], threads: int, cache: StudyCache) -> None:
        made.append(cache)
        initialise(work, folder, files, threads, cache)

    def noted_read(folder: Path) -> RunRecord:
        read.append(folder)
        return read_record(folder)

    initialise, read_record = CellWork.__init__, reading.read_record
    monkeypatch.setattr(CellWork, "__init__", noted)
    monkeypatch.setattr(reading, "read_record", noted_read)
    folder = cllora.run(study(5), tmp_path)
    assert len(made) == 2
    assert made[0] is made[1]
    assert len(read) == len(set(read)) == 10
    fresh = cllora.results(folder)
    assert cllora.results(folder, before=fresh).metrics.equals(fresh.metrics)


def test_a_cell_of_a_decided_study_that_is_gone_is_made_again(tmp_path: Path) -> None:
    asked = study(60, (0.1, "iid"))
    folder = cllora.run(asked, tmp_path)
    shutil.rmtree(folder / "alpha=iid,seed=3")
    computed.clear()
    cllora.run(asked, tmp_path)
    assert computed == ["alpha=iid,seed=3"]


def test_seeds_that_are_added_by_hand_after_a_look_raise_the_level(tmp_path: Path) -> None:
    levels = []
    for seeds in (1, 1, 2, 3):
        cllora.run(study(8, seeds=seeds), tmp_path)
        levels.append(cllora.results(tmp_path).level)
    assert levels == [0.95, 0.95, 0.975, 0.9875]


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        ("{until: decided}", "most: there is no value here"),
        ("{until: never, most: 9}", "until: Input should be 'decided'"),
        ("{until: decided, most: 5}", "first is 8, most 5"),
        ("{until: decided, mots: 9}", "did you mean 'most'"),
        ("often", "give a number from 1 to 10,000, a list, or {until: decided, most: 60}"),
    ],
)
def test_a_rule_that_cannot_be_followed_gets_one_line(seeds: str, line: str) -> None:
    shown = CliRunner().invoke(app, ["show", "demo", "--set", f"seeds={seeds}"])
    assert line in shown.output + str(shown.exception)


def test_there_is_something_to_decide_and_a_metric_to_decide_by() -> None:
    with pytest.raises(UsageError, match="needs a control"):
        Study.parse({"seeds": {"until": "decided", "most": 20}, "grid": {"lora.r": [1, 2]}})
    with pytest.raises(UsageError, match="primary: unknown metric 'late_los'; did you mean 'late_loss'"):
        cllora.run(find_study("demo", ["primary=late_los"]), "nowhere")


def test_looks() -> None:
    assert stats.looks(60, 8) == [8, 12, 18, 27, 41, 60]
    assert stats.looks(12, 8) == [8, 12]
    assert stats.looks(8, 8) == [8]


NOISES = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "heavy tails": lambda draw, shape: draw.standard_t(3, size=shape),
    "log-normal": lambda draw, shape: draw.lognormal(0, 1, size=shape),
    "one in five far off": lambda draw, shape: 0.2 * draw.normal(size=shape) + 2 * (draw.random(shape) < 0.2),
}
STUDIES = 400
MOST = 27


def typical(noise: str) -> float:
    draw = np.random.default_rng(1)
    one, other = (NOISES[noise](draw, 200_000) for _ in range(2))
    return float(np.median((one + other) / 2))


def stops(values: NDArray[np.float64], margin: float) -> tuple[bool, bool]:
    """Whether a study that is looked at as it grows says that there is a difference, and that there is none."""
    planned = stats.looks(MOST, 8)
    alpha = 1 - stats.level_of_look(len(planned))
    for look in planned:
        differs = stats.p_of_difference(values[:look]) <= alpha
        equivalent = stats.p_of_equivalence(values[:look], margin) <= alpha
        if differs or equivalent:
            return differs, equivalent
    return False, False


@pytest.mark.parametrize("noise", NOISES)
def test_stopping_does_not_make_wrong_answers_more_frequent(noise: str) -> None:
    """At most 5 % of studies without an effect stop with one, and of those with an effect of the margin with none.

    So many of 400 that a rate of 5 % would give more once in a thousand times.
    """
    values = NOISES[noise](np.random.default_rng(0), (STUDIES, MOST)) - typical(noise)
    margin = float(values.std())
    bound = 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert np.mean([stops(row, margin)[0] for row in values]) <= bound
    assert np.mean([stops(row + margin, margin)[1] for row in values]) <= bound


def test_the_looks_interval_holds_as_an_anytime_valid_one_does_and_is_narrower() -> None:
    """Beside a confidence sequence of known spread (Robbins' normal mixture, package `ville`), which holds at every
    number of seeds: ours holds at its looks alone, and so may be narrower there."""
    values = np.random.default_rng(2).normal(size=(200, MOST))
    planned = stats.looks(MOST, 8)
    level = stats.level_of_look(len(planned))
    missed, widths = 0, []
    for row in values:
        sequence = ville.GaussianMixtureCS(sigma=1.0, alpha=0.05, t_opt=MOST, intersect=False).fit(row)
        low, high = sequence.lower_, sequence.upper_
        ours = [stats.interval(row[:look], level) for look in planned]
        missed += any(not a <= 0 <= b for a, b in ours)
        widths.append([(b - a) / (high[look - 1] - low[look - 1]) for (a, b), look in zip(ours, planned, strict=True)])
    assert missed / len(values) <= 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / len(values))
    assert (np.mean(widths, axis=0)[1:] < 1).all()


def test_a_plan_says_what_can_be_decided_and_registers_it(tmp_path: Path) -> None:
    asked = study(5, (0.1, 100, "iid"))
    made = plan(asked, tmp_path, pilot=2)
    assert made.registration.comparisons == ("alpha=0.1", "alpha=100")
    assert made.registration.looks == (4, 5)
    gains = -cllora.results(tmp_path / "pilot").metrics.query("alpha == 'iid'")["change"]
    assert made.registration.margin == pytest.approx(0.001 * gains.mean(), rel=1e-5)
    assert made.cost.cells == (12, 15)
    for likely in made.likely:
        assert likely.chances[2.0].differs >= likely.chances[0.5].differs - 0.1
    register(asked, tmp_path, made.registration)
    cllora.run(asked, tmp_path)
    results = cllora.results(tmp_path)
    assert not set(results.seeds) & set(cllora.results(tmp_path / "pilot").seeds)
    assert all(row.registered and row.margin == made.registration.margin for row in results.comparisons("late_loss"))
    added = results.comparisons("final_loss")
    assert all(not row.registered and row.answer.endswith(", exploratory") for row in added)
    with pytest.raises(UsageError, match="holds cells of it already"):
        register(asked, tmp_path, made.registration)


def test_nothing_is_registered_where_it_cannot_be(tmp_path: Path) -> None:
    asked, file = study(5), tmp_path / "file"
    registration = plan(asked, tmp_path / "plan", pilot=2).registration
    file.touch()
    with pytest.raises(UsageError, match=r"cannot write to .*choose another --out"):
        register(asked, file, registration)
    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another process is running a study"):
        register(asked, tmp_path, registration)
    register(asked, tmp_path, registration)
    with pytest.raises(UsageError, match="holds another study"):
        register(study(5, (1, "iid")), tmp_path, registration)
    assert json.loads((tmp_path / "study.json").read_text())["registration"]["digest"] == registration.digest


def test_a_registration_that_was_changed_counts_for_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = study(8, (0.1, "iid"), seeds=2)
    register(asked, tmp_path, plan(asked, tmp_path, pilot=2).registration)
    cllora.run(asked, tmp_path)
    assert cllora.results(tmp_path).comparisons("late_loss")[0].registered
    file = tmp_path / "study.json"
    file.write_text(file.read_text().replace('"level": 0.95', '"level": 0.9'))
    assert not cllora.results(tmp_path).comparisons("late_loss")[0].registered
    assert "changed after it was made" in caplog.text


def test_chances_are_those_of_the_tests() -> None:
    """Beside the noncentral t distribution, for one look at seeds that are judged by t."""
    draw = np.random.default_rng(3)
    one = stats.chances(0.8, 1.0, np.nan, [7], 0.05, draw, studies=4000)
    assert one.differs == pytest.approx(stats.chance_of_differs(0.8, 1.0, 7), abs=0.03)
    assert (one.equivalent, one.seeds) == (0, 7)
    several = stats.chances(0.0, 1.0, 1.5, [8, 12, 18], 0.05 / 3, draw, studies=2000)
    assert several.differs <= 0.06
    assert several.equivalent > 0.9
    assert several.seeds < 14
