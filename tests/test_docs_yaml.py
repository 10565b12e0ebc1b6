"""What the docs write as YAML is a study, or a part of one."""

import re
from pathlib import Path

import pytest
import yaml

from cllora.runs.study import check
from cllora.spec import Study

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=f"{file.name}-{number}")
    for file in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for number, block in enumerate(BLOCK.findall(file.read_text(encoding="utf-8")))
    if "load:" not in block  # of a file that the reader writes
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_a_study(block: str) -> None:
    fields = yaml.safe_load(block)
    if "control" in fields and "grid" not in fields:  # of a study that the reader has
        fields["grid"] = {axis: [value, 2] for axis, value in fields["control"].items()}
    if fields.keys() & {"controls", "seeds"} and "control" not in fields:
        fields.update(grid={"partition.alpha": [0.1, "iid"]}, control={"partition.alpha": "iid"})
    check(Study.parse(fields))
