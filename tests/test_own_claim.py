"""A claim in a user's own file is judged, and shown in the report, the terminal and the list, without another line."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import cllora
from cllora import claims
from cllora.analysis import Results
from cllora.errors import UsageError
from cllora.metrics import NATS
from cllora.registry import load_plugins
from cllora.reports import report, results_table, verdict_rows
from cllora.stats import p_of_equivalence
from support.synthetic import make_study, write_study

MINE = '''"""A user's file: ten lines, nothing else anywhere."""

from cllora.claims import against_control, claims


@claims.register(title="strong skew costs a tenth of a nat", metrics="final_loss", rule="raises", margin=0.1)
def strong_skew_costs(results):
    """Alpha 0.1 raises the final global loss by a tenth of a nat per token or more."""
    return [one for one in against_control(results) if results.first[one.name].labels["alpha"] == "0.1"]
'''
TITLE = "strong skew costs a tenth of a nat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished study that names the user's file in `load:`."""
    (tmp_path / "mine.py").write_text(MINE)
    study = make_study((0.1, 1, "iid"), num_seeds=3, load=[str(tmp_path / "mine.py")])
    return write_study(tmp_path / "study", study)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished study that names no file."""
    return cllora.results(write_study(tmp_path_factory.mktemp("runs") / "it", make_study((0.1, "iid"), num_seeds=2)))


def test_a_user_s_claim_is_judged(folder: Path) -> None:
    results = cllora.results(folder)
    verdict = claims.verdict("strong_skew_costs", results)
    (comparison,) = results.comparisons("final_loss")[:1]
    assert (comparison.cell, verdict.cells) == ("alpha = 0.1", ("alpha = 0.1", "alpha = iid"))
    assert verdict.effect == pytest.approx(comparison.difference, abs=1e-12)
    assert (verdict.low, verdict.high) == pytest.approx((comparison.low, comparison.high))
    assert (verdict.seeds, verdict.claim.margin, verdict.claim.unit) == (3, 0.1, NATS)
    inside = p_of_equivalence(np.array(comparison.by_seed), 0.1) <= 0.05
    assert verdict.kind == (
        "supported" if verdict.low > 0 and not inside else "contradicted" if inside else "undecided"
    )
    assert verdict.claim.computed == "final global loss"


def test_it_is_in_the_report_the_terminal_and_the_list(
    folder: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    page = report(folder, with_latex=True).read_text(encoding="utf-8")
    section = page[page.index('id="verdicts"') :]
    assert f"(strong_skew_costs) {TITLE.capitalize()}" in section
    assert "Of 1 claim of your own this study tests 1" in section
    assert "strong_skew_costs" in (folder / "tables" / "verdicts.csv").read_text(encoding="utf-8")
    results, console = cllora.results(folder), Console(width=200)
    with console.capture() as capture:
        console.print(results_table(results))
    assert "Of 1 claim of your own this study tests 1" in " ".join(capture.get().split())
    assert any(row["claim"] == "strong_skew_costs" for row in verdict_rows(results))
    _, out, err = command("list", "claims", "--load", tmp_path / "mine.py", "--json")
    listed = json.loads(out)["claims"]
    assert listed["strong_skew_costs"]["help"].startswith("Alpha 0.1 raises"), err
    assert {"paper/a", "longlora/as-far"} < set(listed)


def test_a_study_without_a_control_tests_it_not(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    load_plugins([str(tmp_path / "mine.py")])
    results = cllora.results(write_study(tmp_path / "study", make_study((0.1, 1))))
    verdict = claims.verdict("strong_skew_costs", results)
    assert (verdict.kind, verdict.why) == ("not tested", "no cells for it")
    assert math.isnan(verdict.effect)


@pytest.mark.parametrize(
    ("stated", "body", "message"),
    [
        ('metrics="finl_loss", rule="raises"', "against_control(results)", "did you mean 'final_loss'"),
        ('metrics="rounds_to_control", rule="barely"', "against_control(results)", "needs a margin"),
        ('metrics="final_loss", rule="raises"', "results.nothing", "claim 'bad' failed: AttributeError"),
        ('metrics=lambda run: 1 / 0, rule="raises"', "against_control(results)", "claim 'bad' failed: ZeroDivision"),
        ('metrics="final_loss", rule="rises"', "against_control(results)", "has no rule 'rises'"),
    ],
)
def test_what_is_wrong_with_a_claim_is_one_line(
    plain: Results, tmp_path: Path, stated: str, body: str, message: str
) -> None:
    text = f'@claims.register(title="t", {stated})\ndef bad(results):\n    return {body}\n'
    (tmp_path / "bad.py").write_text(f"from cllora.claims import against_control, claims\n\n\n{text}")
    load_plugins([str(tmp_path / "bad.py")])
    with pytest.raises(UsageError, match=message):
        claims.verdict("bad", plain)


def test_a_file_of_a_package_that_can_be_imported_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported by its own name and named in `load:`, it would register everything twice."""
    package = tmp_path / "a_study_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins([str(package / "mine.py")])
    import a_study_of_mine.mine as imported

    load_plugins([str(package / "mine.py")])
    assert claims.claims.get("strong_skew_costs") is imported.strong_skew_costs
