"""Models of many families, tiny, agree with stock transformers and PEFT one text at a time, or are refused in one line.

All families are compared by `python scripts/families`, which takes minutes and makes docs/models.md. Here are some of
each kind, on both sides of the limits in their configs.
"""

import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TAKEN = (
    "afmoe",
    "deepseek_v3",
    "gemma3",
    "gemma3_text",
    "gpt2, untied",
    "llama, rope dynamic",
    "llama, rope yarn",
    "longcat_flash",
    "mixtral, no window",
    "opt, 350m",
    "qwen2, windows in some layers",
)
REFUSED = ("bert", "falcon, alibi", "gpt_oss", "llama4_text", "mamba")
EITHER = ("phi3, rope longrope",)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A function from a case of scripts/families to what its comparison finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts" / "families")
        import compare
        from cases import cases
        from configs import tiny
        from models import save

        def find(name):
            folder = tmp_path_factory.mktemp("family")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # transformers' and PEFT's own, of families as they come
                save(tiny(*cases()[name]), folder)
                return compare.compare(folder, quick=True)

        yield find
    for name in ("cases", "compare", "configs", "models", "stock", "targets", "texts"):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", TAKEN)
def test_a_family_agrees_with_stock_at_its_limits(compared, name):
    found = compared(name)
    assert (found.verdict, found.faults, found.targets) == ("supported", [], {})
    assert set(found.differences) == {"base", "base alone", "adapter", "merged", "gradient"}
    assert found.spread > 0.1  # predictions are not uniform, so that losses say something


@pytest.mark.parametrize("name", REFUSED)
def test_another_is_refused_in_one_line(compared, name):
    found = compared(name)
    assert (found.verdict, found.faults) == ("refused", [])
    for line in found.refusals.values():
        assert "\n" not in line
        assert "Error" not in line


@pytest.mark.parametrize("name", EITHER)
def test_company_changes_no_text(compared, name):
    assert compared(name).faults == []
