"""docs/findings.md says what its tables say."""

from pathlib import Path

import pandas as pd
import pytest

from support.scripts import script

ROOT = Path(__file__).parents[2]
findings = script("findings")


def test_every_made_part_is_as_its_table_has_it():
    page = findings.PAGE.read_text(encoding="utf-8")
    assert findings.written(page) == page
    for name in findings.STUDIES:
        assert f"<!-- made: {name} -->" in page


@pytest.mark.parametrize("name", findings.STUDIES)
def test_every_figure_is_as_its_table_has_it_over_five_seeds(name):
    table = pd.read_csv(findings.TABLES / f"{findings.file_name(name)}.csv")
    drawn = (ROOT / "docs" / "images" / f"findings-{findings.file_name(name)}.svg").read_text(encoding="utf-8")
    assert findings.forest(table) == drawn
    assert (table["seeds"] >= 5).all()


def test_a_difference_is_told_in_thousandths_with_its_interval():
    row = pd.Series({"difference": -0.0123, "low": -0.02, "high": 0.0004})
    assert findings.difference(row) == "−12.3 [−20.0, +0.4]"
    assert findings.difference(pd.Series({"difference": float("nan"), "low": 0.0, "high": 0.0})) == ""
