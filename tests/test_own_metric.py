"""A metric or a probe in a user's own file is in every table and picture without another line anywhere; and what a
metric may not be."""

import contextlib
import json
import math
from dataclasses import dataclass
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
from cllora.spec import Study
from cllora.store import read_json, read_losses, read_rounds, write_probe
from support.synthetic import make_study, write_study

MINE = '''"""A user's file: ten lines, nothing else anywhere."""

from cllora.metrics import NATS, RunRecord, metrics


@metrics.register(title="loss of the worst text", unit=NATS, better="lower", short="worst text")
def worst_text(run: RunRecord) -> float:
    """The highest loss of a text of the global test set after the last round, in nats per token."""
    last = run.losses[(run.losses["round"] == run.last_round) & (run.losses["model"] == "global")]
    return float((last["nll"] / last["tokens"]).max())
'''
PROBE = '''"""A user's file: ten lines, nothing else anywhere."""

import pandas as pd

from cllora.metrics import NATS
from cllora.probes import probes


@probes.register(when="end", title="worst text", numbers={"loss": (NATS, "lower")})
def worst(model, moment) -> pd.DataFrame:
    """The text with the highest loss under the final global model."""
    losses = model.evaluate("probe", moment.model, moment.texts)
    return pd.DataFrame({"sample": losses.sample, "loss": losses.nll / losses.tokens}).nlargest(1, "loss")
'''


@dataclass(frozen=True)
class Own:
    """A user's file and the metric that it makes: its name, title and short title, and what its help begins with."""

    file: str
    name: str
    title: str
    short: str
    help: str


METRIC = Own(MINE, "worst_text", "loss of the worst text", "worst text", "The highest loss of a text")
OF_A_PROBE = Own(PROBE, "worst.loss", "loss of worst text", "loss of worst text", "The number loss of the probe worst")


def finished(place: Path, own: Own, **more: object) -> Path:
    """A finished study that names the user's file in `load:`; what the probe would have measured is there."""
    (place / "mine.py").write_text(own.file)
    study = make_study((0.1, "iid"), num_seeds=3, load=[str(place / "mine.py")], **more)
    folder = write_study(place / "study", study)
    for cell in study.cells() if own is OF_A_PROBE else ():
        losses = read_losses(folder / cell.name).query("round == 3 and model == 'global'")
        worst = (losses["nll"] / losses["tokens"]).nlargest(1)
        table = pd.DataFrame({"sample": losses.loc[worst.index, "sample"], "loss": worst})
        write_probe(folder / cell.name, "worst", 3, table, every_round=False)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return finished(tmp_path, METRIC)


both = pytest.mark.parametrize("own", [METRIC, OF_A_PROBE], ids=["metric", "probe"])


@both
def test_it_is_in_the_results(own: Own, tmp_path: Path) -> None:
    results = cllora.results(finished(tmp_path, own))
    losses = results.losses[(results.losses["round"] == 3) & (results.losses["model"] == "global")]
    highest = (losses["nll"] / losses["tokens"]).groupby([losses["cell"], losses["seed"]], sort=False).max()
    assert results.metrics[own.name].tolist() == highest.tolist()
    assert own.name in results.summary["metric"].tolist()
    (comparison,) = results.comparisons(own.name)
    assert (comparison.cell, comparison.against) == ("alpha = 0.1", "alpha = iid")
    gain = -results.metrics.loc[results.metrics["alpha"] == "iid", "change"].mean()
    assert comparison.margin == pytest.approx(0.1 * gain)


@both
def test_it_is_in_the_report(own: Own, tmp_path: Path) -> None:
    folder = finished(tmp_path, own)
    page = cllora.report(folder, with_latex=True)
    tables = folder / "tables"
    assert own.name in pd.read_csv(tables / "runs.csv")
    assert own.name in pd.read_csv(tables / "results.csv")["metric"].tolist()
    assert own.name in pd.read_csv(tables / "effects.csv")["metric"].tolist()
    html = page.read_text(encoding="utf-8")
    assert f"<th>{own.title}</th>" in html.replace(' scope="col"', "")
    assert f"{own.title[0].upper()}{own.title[1:]}" in html  # above its forest plot
    for name in ("results", "effects"):
        assert own.title in (tables / f"{name}.tex").read_text(encoding="utf-8")


@both
def test_it_is_in_the_terminal(own: Own, tmp_path: Path) -> None:
    console = Console(width=200, record=True, file=None)
    with console.capture() as captured:
        console.print(results_table(cllora.results(finished(tmp_path, own))))
    assert own.short in captured.get()


@both
def test_it_is_listed(own: Own, tmp_path: Path, command) -> None:
    (tmp_path / "mine.py").write_text(own.file)
    out = command("list", "metrics", "--json", "--load", tmp_path / "mine.py")[1]
    assert json.loads(out)["metrics"][own.name]["help"].startswith(own.help)


@both
def test_trackers_are_told_it_with_the_last_round(own: Own, tmp_path: Path) -> None:
    told = heard()
    folder = finished(tmp_path, own, report_to=["ear"])
    study = Study.parse(read_json(folder / "study.json"))
    cllora.results(folder)  # which runs the user's file
    follow_last_round(study, folder)
    assert told[-1][0] == 3
    assert told[-1][1][f"metrics.{own.name}"] > told[-1][1]["metrics.final_loss"] > 0
    assert not any(name.startswith("metrics.") for _, figures in told[:-1] for name in figures)


def heard() -> list[tuple[int, dict[str, float]]]:
    """A list that a tracker called `ear` fills with what it is told."""
    told: list[tuple[int, dict[str, float]]] = []

    @trackers.register()
    @contextlib.contextmanager
    def ear(run):
        """Hears."""
        yield lambda number, figures: told.append((number, dict(figures)))

    return told


def follow_last_round(study: Study, folder: Path) -> None:
    cell = study.cells()[0]
    record = read_rounds(folder / cell.name)[-1]
    with Tracking(study, folder) as tracking:
        tracking.follow(Progress(cell, cells=6, index=0, round=3, rounds=3, resumed=False, record=record))


def test_a_metric_can_be_named_by_its_file_when_reporting(tmp_path: Path, command) -> None:
    folder = write_study(tmp_path / "study", make_study((0.1, "iid")))
    (tmp_path / "mine.py").write_text(MINE)
    assert "worst_text" not in cllora.results(folder).metrics
    code, out, err = command("report", folder, "--load", tmp_path / "mine.py", "--json")
    assert code == 0, err
    assert all(row["worst_text"] > 0 for row in json.loads(out)["results"])
    assert "worst_text" in cllora.results(folder, load=[tmp_path / "mine.py"]).metrics


def test_a_metric_that_fails_costs_trackers_that_one_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    @metrics.register(title="broken", unit=NATS)
    def broken(run: room.RunRecord) -> float:
        raise ZeroDivisionError("no texts")

    told = heard()
    study = make_study((0.1, "iid"), num_seeds=3, report_to=["ear"])
    with pytest.raises(UsageError, match=r"metric 'broken' failed on .*ZeroDivisionError: no texts"):
        cllora.results(folder)
    follow_last_round(study, folder)
    assert told[-1][1]["metrics.final_loss"] > 0
    assert "metrics.oscillation" not in told[-1][1]  # NaN: three rounds show none
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
