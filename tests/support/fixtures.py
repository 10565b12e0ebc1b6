"""What the fixtures give: its types, and when it is a refusal; and what a test needs of the machine."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

MakePackage = Callable[..., Path]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, and killed by SIGKILL")


def refused(result, *parts):
    """What `command` gave is a refusal: one line that says all the parts, nothing else, and exit code 2."""
    code, out, err = result
    assert code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    for part in ("cllora: ", *parts):
        assert part in lines[0]
