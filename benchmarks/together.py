"""Cells in the same passes against one by one: tokens of training, and whole cells, for a second of the processor.

    python benchmarks/together.py [--models embedded-64 embedded] [--batches 2 8] [--repeats 3] [--out FILE.json]

Eight cells of length skew (two alphas, four seeds) in one process with one thread, in turn 1, 2, 4 and 8 of them
together; a ratio is over 1, the median of the turns. Counted is the process's own time, which other processes lengthen
less than they do the clock's; run it alone all the same.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

import cllora
import measured
from cllora.model.learner import Learner
from cllora.spec import LocalSpec, Study
from cllora.types import Job, Trained
from studies import length_skew

TOGETHER = (1, 2, 4, 8)


def study(model: str, batch: int, together: int, rounds: int) -> Study:
    return length_skew(
        4,
        [
            f"model.name={model}",
            f"federation.num_rounds={rounds}",
            f"local={{steps: 6, batch_size: {batch}, learning_rate: 3e-3}}",
            f"engine={{name: inline, threads: 1, together: {together}}}",
        ],
    )


@dataclass
class Timed:
    """A learner's method, and the time that it took."""

    method: Callable[..., list[Trained]]
    seconds: float = 0.0
    tokens: int = 0

    def __call__(self, learner: Learner, jobs: Sequence[Job], local: LocalSpec, seed: int) -> list[Trained]:
        began = time.process_time()
        results = self.method(learner, jobs, local, seed)
        self.seconds += time.process_time() - began
        self.tokens += sum(trained.tokens for trained in results)
        return results


def run(asked: Study) -> tuple[float, float]:
    """Tokens a second of training alone; and cells an hour, from the first round on disk to the last cell's end."""
    begins: list[float] = []
    timed = Timed(Learner.train)
    with tempfile.TemporaryDirectory() as place, patch.object(Learner, "train", lambda *given: timed(*given)):
        cllora.run(asked, Path(place), on_progress=lambda progress: begins.append(time.process_time()))
        seconds = time.process_time() - begins[0]
    return timed.tokens / timed.seconds, 3600 * len(asked.cells()) / seconds


def rows_of(model: str, batch: int, repeats: int, rounds: int) -> list[dict[str, object]]:
    """A row for each number of cells together."""
    run(study(model, batch, 1, 1))  # fills the cache of texts
    turns = [{k: run(study(model, batch, k, rounds)) for k in TOGETHER} for _ in range(repeats)]
    rows = []
    for together in TOGETHER:
        ratios = [[turn[together][i] / turn[1][i] for turn in turns] for i in range(2)]
        rates = [statistics.median(turn[together][i] for turn in turns) for i in range(2)]
        rows.append(
            {
                "model": model,
                "batch": batch,
                "together": together,
                "trained tokens/s": round(rates[0]),
                "ratio": round(statistics.median(ratios[0]), 2),
                "cells an hour": round(rates[1]),
                "their ratio": round(statistics.median(ratios[1]), 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["embedded-64", "embedded"])
    parser.add_argument("--batches", nargs="+", type=int, default=[2, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = []
    for model in options.models:
        for batch in options.batches:
            rows += rows_of(model, batch, options.repeats, options.rounds)
            print(*rows[-len(TOGETHER) :], sep="\n", file=sys.stderr, flush=True)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)
    if options.out is not None:
        measured.write(options.out, {"rows": rows})


if __name__ == "__main__":
    main()
