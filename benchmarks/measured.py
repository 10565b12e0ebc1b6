"""What a benchmark writes down: its figures, and when, where, with what and by which command they were measured."""

import json
import platform
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers


def write(path: Path, figures: dict[str, Any]) -> None:
    about = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "command": command(sys.argv),
    }
    path.write_text(json.dumps({**about, **figures}, indent=1) + "\n", encoding="utf-8")


def command(words: list[str]) -> str:
    """The command without the folders of whoever ran it."""
    script, *given = words
    for folder in {"--out", "--place"} & {*given}:
        at = given.index(folder)
        del given[at : at + 2]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *given])
