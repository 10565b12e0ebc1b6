"""docs/models.md is of the pinned transformers, and leaves out no family that it has."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
REMAKE = "make docs/models.md anew: python scripts/families"


@pytest.mark.parametrize("package", ["transformers", "peft", "torch"])
def test_the_page_is_of_the_pinned_versions(package):
    assert f"{package} {PINNED[package]}".lower() in " ".join(PAGE.lower().split()), REMAKE


@pytest.mark.skipif(version("transformers") != PINNED["transformers"], reason="another transformers than the page's")
def test_the_page_names_every_family():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    named = set(re.findall(r"[\w-]+", PAGE))
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= named, REMAKE


def test_the_page_has_no_faults():
    assert "## Faults" not in PAGE, REMAKE
