"""What the fixtures give: its types, and when it is a refusal."""

from collections.abc import Callable
from pathlib import Path

MakePackage = Callable[..., Path]


def refused(result, *parts):
    """What `command` gave is a refusal: one line that says all the parts, nothing else, and exit code 2."""
    code, out, err = result
    assert code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    for part in ("cllora: ", *parts):
        assert part in lines[0]
