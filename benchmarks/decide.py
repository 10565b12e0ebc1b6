"""The CPU minutes that it takes to know the effect of length skew (claim b: alpha 0.1 against IID, on the global loss)
to a half-width of 10 % of what training gains: by the design of 0.1.0 and by that of the demo.

    python benchmarks/decide.py [--seeds 8] [--place FOLDER] [--out FILE.json]

Each design is run with a few seeds; from the spread of its differences follows how many it takes. 0.1.0's is a base's
cells of `paper/length@embedded`: the loss after the last round, on docstrings, with the t interval of the mean. The
demo's is the mean loss over the last half of the rounds, on functions, with signed ranks. CPU time is that of one
thread of the process, without reading texts, so that other processes change it little. An interrupted run goes on if
`--place` is given; its CPU time is then that of the seeds that were run by this command.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import chi2, t

import cllora
import measured
from cllora.presets import find_study
from cllora.runs.engines import Progress
from cllora.spec import Study
from cllora.stats import BY_RANKS

SHARE = 0.1
"""The half-width that is asked for, as a share of what training gains."""
LEVEL = 0.95
NEEDED = ("seeds needed", "CPU minutes")


@dataclass(frozen=True)
class Design:
    """A study of two cells, alpha 0.1 and IID, and the metric and the kind of interval that it is judged by."""

    study: Study
    metric: str
    by_ranks: bool


def of_0_1_0(model: str, epochs: int, seeds: int) -> Design:
    """A base's cells of `paper/length@embedded`, which has more epochs for smaller bases, as the paper has."""
    fields = find_study("paper/length@embedded").to_mapping()
    fields["model"]["name"], fields["local"]["epochs"] = model, epochs
    fields.update(grid={"partition.alpha": [0.1, "iid"]}, seeds=seeds, engine={"name": "inline", "threads": 1})
    fields.pop("where", None)
    return Design(Study.parse(fields), "final_loss", by_ranks=False)


def of_the_demo(model: str, seeds: int) -> Design:
    """The demo's cells without bad texts."""
    fields = find_study("demo").to_mapping()
    fields["model"]["name"] = model
    del fields["data"]["corrupt"]
    fields.update(grid={"partition.alpha": [0.1, "iid"]}, control={"partition.alpha": "iid"}, seeds=seeds)
    fields["engine"] = {"name": "inline", "threads": 1}
    return Design(Study.parse(fields), "late_loss", by_ranks=True)


def designs(seeds: int) -> dict[str, Design]:
    return {
        "0.1.0, embedded-128": of_0_1_0("embedded-128", 6, seeds),
        "demo's, embedded-128": of_the_demo("embedded-128", seeds),
        "demo's, embedded-64": of_the_demo("embedded-64", seeds),
    }


class Clock:
    """CPU seconds of rounds, from the first one on disk of those that are computed now."""

    def __init__(self) -> None:
        self.rounds, self.seconds, self._last = 0, 0.0, math.nan

    def __call__(self, progress: Progress) -> None:
        now = time.process_time()
        if not progress.resumed and not math.isnan(self._last):
            self.rounds, self.seconds = self.rounds + 1, self.seconds + now - self._last
        self._last = now


def row_of(design: Design, place: Path) -> dict[str, float]:
    clock = Clock()
    results = cllora.results(cllora.run(design.study, place, on_progress=clock))
    (contrast,) = results.comparisons(design.metric)
    controls = results.averaged[results.averaged["cell"].isin(results.controls)]
    gain = float((controls["base_loss"] - controls[design.metric]).mean())
    rounds = design.study.cells()[0].experiment.federation.num_rounds + 1
    pair = 2 * rounds * clock.seconds / max(1, clock.rounds)
    v = contrast.seeds - 1
    spreads = {"about": 1.0, "from": math.sqrt(v / chi2.ppf(0.9, v)), "to": math.sqrt(v / chi2.ppf(0.1, v))}
    seeds = {name: seeds_for(contrast.spread * unsure, gain, design.by_ranks) for name, unsure in spreads.items()}
    return {
        "seeds run": contrast.seeds,
        "gain": round(gain, 4),
        "effect": round(contrast.difference, 4),
        "spread": round(contrast.spread, 5),
        "CPU s a pair": round(pair, 1),
        **{f"seeds needed, {name}": number for name, number in seeds.items()},
        **{f"CPU minutes, {name}": round(number * pair / 60, 2) for name, number in seeds.items()},
    }


def seeds_for(spread: float, gain: float, by_ranks: bool) -> int:
    """The seeds whose interval has the half-width that is asked for: t_(n-1) s / sqrt(n); by ranks, from 8 on, pi / 3
    times as many."""
    n = 2
    while t.ppf((1 + LEVEL) / 2, n - 1) * spread / math.sqrt(n) > SHARE * gain:
        n += 1
    return math.ceil(n * math.pi / 3) if by_ranks and n >= BY_RANKS else n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--place", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, design in designs(options.seeds).items():
            rows.append({"design": name, **row_of(design, (options.place or Path(folder)) / name)})
            print(rows[-1], file=sys.stderr, flush=True)
    first = rows[0]["CPU minutes, about"]
    table = Table(
        "design", "gain", "effect", "spread", "seeds needed", "CPU s a pair", "CPU minutes", "times less", box=None
    )
    for row in rows:
        row["times less"] = round(first / row["CPU minutes, about"], 1)
        needed, minutes = (
            f"{row[f'{cost}, about']} ({row[f'{cost}, from']} to {row[f'{cost}, to']})" for cost in NEEDED
        )
        numbers = [str(row[name]) for name in ("gain", "effect", "spread")]
        table.add_row(str(row["design"]), *numbers, needed, str(row["CPU s a pair"]), minutes, str(row["times less"]))
    Console(width=120).print(table)
    if options.out is not None:
        measured.write(options.out, {"share": SHARE, "rows": rows})


if __name__ == "__main__":
    main()
