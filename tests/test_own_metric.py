"""A metric in a user's own file is in every table and picture without another line anywhere; and what it may not be."""

import contextlib
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import cllora
from cllora import metrics as room
from cllora.errors import UsageError
from cllora.metrics import NATS, metrics
from cllora.reports import results_table
from cllora.runs import trackers
from cllora.runs.engines import Progress
from cllora.runs.tracking import Tracking
from cllora.store import read_rounds
from support.synthetic import make_study, write_study

MINE = '''"""A user's file: ten lines, nothing else anywhere."""

from cllora.metrics import NATS, RunRecord, metrics


@metrics.register(title="loss of the worst text", unit=NATS, better="lower", short="worst text")
def worst_text(run: RunRecord) -> float:
    """The highest loss of a text of the global test set after the last round, in nats per token."""
    last = run.losses[(run.losses["round"] == run.last_round) & (run.losses["model"] == "global")]
    return float((last["nll"] / last["tokens"]).max())
'''
TITLE = "loss of the worst text"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished study that names the user's file in `load:`."""
    (tmp_path / "mine.py").write_text(MINE)
    study = make_study((0.1, "iid"), num_seeds=2, load=[str(tmp_path / "mine.py")])
    return write_study(tmp_path / "study", study)


def test_a_user_s_metric_is_in_the_results(folder: Path) -> None:
    results = cllora.results(folder)
    losses = results.losses[(results.losses["round"] == 3) & (results.losses["model"] == "global")]
    highest = (losses["nll"] / losses["tokens"]).groupby([losses["cell"], losses["seed"]], sort=False).max()
    assert results.metrics["worst_text"].tolist() == highest.tolist()
    assert "worst_text" in results.summary["metric"].tolist()
    (comparison,) = results.comparisons("worst_text")
    assert (comparison.cell, comparison.against) == ("alpha = 0.1", "alpha = iid")
    gain = -results.metrics.loc[results.metrics["alpha"] == "iid", "change"].mean()
    assert comparison.margin == pytest.approx(0.1 * gain)


def test_a_user_s_metric_is_in_the_report(folder: Path) -> None:
    page = cllora.report(folder, with_latex=True)
    tables = folder / "tables"
    assert "worst_text" in pd.read_csv(tables / "runs.csv")
    assert "worst_text" in pd.read_csv(tables / "results.csv")["metric"].tolist()
    assert "worst_text" in pd.read_csv(tables / "effects.csv")["metric"].tolist()
    html = page.read_text()
    assert f"<th>{TITLE}</th>" in html.replace(' scope="col"', "")
    assert f"{TITLE[0].upper()}{TITLE[1:]}" in html  # above its forest plot
    for name in ("results", "effects"):
        assert TITLE in (tables / f"{name}.tex").read_text()


def test_a_user_s_metric_is_in_the_terminal(folder: Path) -> None:
    console = Console(width=200, record=True, file=None)
    with console.capture() as captured:
        console.print(results_table(cllora.results(folder)))
    assert "worst text" in captured.get()


def test_a_user_s_metric_is_listed(folder: Path, command) -> None:
    out = command("list", "metrics", "--json", "--load", folder.parent / "mine.py")[1]
    assert json.loads(out)["metrics"]["worst_text"]["help"].startswith("The highest loss of a text")


def test_a_metric_can_be_named_by_its_file_when_reporting(tmp_path: Path, command) -> None:
    folder = write_study(tmp_path / "study", make_study((0.1, "iid")))
    (tmp_path / "mine.py").write_text(MINE)
    assert "worst_text" not in cllora.results(folder).metrics
    code, out, err = command("report", folder, "--load", tmp_path / "mine.py", "--json")
    assert code == 0, err
    assert all(row["worst_text"] > 0 for row in json.loads(out)["results"])
    assert "worst_text" in cllora.results(folder, load=[tmp_path / "mine.py"]).metrics


def test_trackers_are_told_all_metrics_with_the_last_round(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, dict[str, float]]] = []

    @trackers.register()
    @contextlib.contextmanager
    def ear(run):
        """Hears."""
        yield lambda number, figures: told.append((number, dict(figures)))

    @metrics.register(title="broken", unit=NATS)
    def broken(run: room.RunRecord) -> float:
        raise ZeroDivisionError("no texts")

    study = make_study((0.1, "iid"), num_seeds=2, load=[str(folder.parent / "mine.py")], report_to=["ear"])
    cell = study.cells()[0]
    with pytest.raises(UsageError, match=r"metric 'broken' failed on .*ZeroDivisionError: no texts"):
        cllora.results(folder)  # which runs the user's file first
    record = read_rounds(folder / cell.name)[-1]
    with Tracking(study, folder) as tracking:
        tracking.follow(Progress(cell, cells=4, index=0, round=3, rounds=3, resumed=False, record=record))
    *earlier, (last, figures) = told
    assert last == 3
    assert not any(name.startswith("metrics.") for _, told_before in earlier for name in told_before)
    assert figures["metrics.worst_text"] > figures["metrics.final_loss"] > 0
    assert "metrics.oscillation" not in figures  # NaN: three rounds show none
    assert "report_to: metric 'broken' failed" in caplog.text


@pytest.mark.parametrize("value", ["high", None, True, pd.Series([1.0])])
def test_a_metric_that_gives_no_number_is_refused(value: object, folder: Path) -> None:
    metrics.register("odd", title="odd", unit=NATS)(lambda run: value)
    kind = type(value).__name__
    with pytest.raises(UsageError, match=f"metric 'odd' returned a {kind}; return a number, or math.nan without one"):
        cllora.results(folder)


def test_a_metric_takes_a_run_or_a_run_and_its_control() -> None:
    with pytest.raises(UsageError, match="metric 'odd' takes a run, or a run and its control"):
        metrics.register("odd", title="odd", unit=NATS)(lambda: 1.0)
    with pytest.raises(UsageError, match="metric 'seed' would hide the column"):
        metrics.register("seed", title="odd", unit=NATS)(lambda run: 1.0)
    with pytest.raises(UsageError, match="metric 'final_loss' is registered already"):
        metrics.register("final_loss", title="odd", unit=NATS)(lambda run: 1.0)
    with pytest.raises(UsageError, match="unknown metric 'final_los'; did you mean 'final_loss'"):
        metrics.metric("final_los")


def test_a_metric_against_its_control_is_missing_without_one(tmp_path: Path) -> None:
    metrics.register("ahead", title="ahead", unit=NATS)(lambda run, control: run.last_round - control.last_round)
    alone = cllora.results(write_study(tmp_path / "alone", make_study((0.1, 1)))).metrics
    assert alone["ahead"].isna().all()
    both = cllora.results(write_study(tmp_path / "both", make_study((0.1, "iid"), num_seeds=2))).metrics
    assert both["ahead"].tolist() == [0] * 4


def test_an_axis_is_not_hidden_by_a_metric_of_its_name(tmp_path: Path) -> None:
    study = make_study((0.1, "iid"), grid={"federation.num_rounds": [2, 3]}, control={})
    metrics.register("num_rounds", title="odd", unit=NATS)(lambda run: -1.0)
    results = cllora.results(write_study(tmp_path, study))
    assert list(results.axes) == ["federation.num_rounds"]
    assert results.metrics["federation.num_rounds"].tolist() == ["2", "3"]


@pytest.mark.parametrize("metric", metrics.every(), ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is(metric: room.Metric) -> None:
    assert metric.title == metric.title.strip(" .")
    assert metrics.help(metric.name).endswith(".")
    assert len(metric.short) <= len(metric.title)
    assert metric.format(math.nan) == "–"
    assert metric.unit.signed(1.0).startswith("+")


def test_the_docs_have_the_catalogue() -> None:
    page = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    for metric in metrics.every():
        unit, better = metric.unit.name or "–", metric.better or "–"
        assert f"| `{metric.name}` | {metric.title} | {unit} | {better} | {metrics.help(metric.name)} |\n" in page
