"""Cells an hour by engine, on an idle machine and beside a busy process; and how long a study takes to its first step.

    python benchmarks/engines.py [--cells 6] [--rounds 3] [--model embedded-64] [--out FILE.json]

Every line is a whole `cllora run` of length skew at two alphas, texts being in the cache; `share` is its rate over that
of `inline` when idle. `ray` and `slurm` (the local executor of submitit) are left out where they are not installed. Run
it alone.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import measured
from cllora.runs.engines.cores import cores
from studies import length_skew

ENGINES = {
    "inline": {"name": "inline"},
    "inline, 1 thread": {"name": "inline", "threads": 1},
    "processes, 1 worker": {"name": "processes", "workers": 1, "threads": 1},
    "processes, 2 workers": {"name": "processes", "workers": 2, "threads": 1},
    "slurm (local), 2 workers": {"name": "slurm", "cluster": "local", "workers": 2, "threads": 1},
    "ray, 2 workers": {"name": "ray", "workers": 2, "threads": 1},
}
BESIDE_A_BUSY_ONE = ("inline", "inline, 1 thread", "processes, 2 workers")
PACKAGES = {"slurm": "submitit", "ray": "ray"}
SPIN = "while True: pass"


@dataclass(frozen=True)
class Measured:
    """Seconds of one study: of the whole command, to the first cell that is about to train, and to the last cell's end
    since."""

    seconds: float
    to_first_step: float
    computing: float


def run(engine: dict[str, object], options: argparse.Namespace) -> Measured:
    """One study in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        began, out = time.time(), Path(place) / "out"
        written = ", ".join(f"{key}: {value}" for key, value in engine.items())
        changes = [f"model.name={options.model}", f"federation.num_rounds={options.rounds}", f"engine={{{written}}}"]
        file = Path(place) / "study.json"
        file.write_text(json.dumps(length_skew(options.cells // 2, changes).to_mapping()), encoding="utf-8")
        command = [sys.executable, "-m", "cllora", "run", str(file), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        ended = time.time()
        starts = [file.stat().st_mtime for file in out.glob("*/environment.json")]
        ends = [file.stat().st_mtime for file in out.glob("*/costs.json")]
        return Measured(ended - began, min(starts) - began, max(ends) - min(starts))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="embedded-64")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.cells < 2 or options.cells % 2:
        parser.error("--cells is a multiple of 2, one for each alpha")
    os.environ["HF_HUB_OFFLINE"] = "1"
    engines = {
        name: engine
        for name, engine in ENGINES.items()
        if engine["name"] not in PACKAGES or importlib.util.find_spec(PACKAGES[str(engine["name"])]) is not None
    }
    run(ENGINES["inline"], argparse.Namespace(**{**vars(options), "cells": 2, "rounds": 1}))  # fills the cache
    rows = []
    for load in (0, 1):
        with busy(load):
            for name, engine in engines.items():
                if load == 0 or name in BESIDE_A_BUSY_ONE:
                    seconds = run(engine, options)
                    rate = 3600 * options.cells / seconds.seconds
                    rows.append({"engine": name, "busy": load, "cells_an_hour": round(rate, 1), **vars(seconds)})
    first = rows[0]["cells_an_hour"]
    table = Table("engine", "busy processes", "cells an hour", "share", "seconds", "to the first step", "computing")
    for row in rows:
        row["share"] = round(row["cells_an_hour"] / first, 3)
        times = [f"{row[key]:.1f}" for key in ("seconds", "to_first_step", "computing")]
        table.add_row(row["engine"], str(row["busy"]), f"{row['cells_an_hour']:.0f}", f"{row['share']:.2f}", *times)
    Console(width=120).print(table)
    if options.out is not None:
        measured.write(options.out, {"cores": cores(), "cells": options.cells, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
