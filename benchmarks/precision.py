"""Does the precision of the frozen base change what a study finds? Cells of length skew in float32 and in
bfloat16, with the same seeds: the effect of alpha in each, and the difference between the two.

    python benchmarks/precision.py [--seeds 5] [--alphas 0.1 iid] [--place FOLDER] [--out FILE.json]

An interrupted run goes on where it was if `--place` is given.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import cllora
import measured
from cllora.stats import paired_interval
from cllora.store import read_rounds
from studies import length_skew

PRECISIONS = ("float32", "bfloat16")
CONTROL = "iid"


def final_losses(precision: str, alphas: list[str], seeds: int, place: Path) -> dict[str, list[float]]:
    """The last global loss of every cell, by alpha, in order of the seeds."""
    # The chosen clients' own adapters are not needed here.
    changes = [
        "model.name=embedded",
        f"model.precision={precision}",
        "evaluation.local_models=false",
        "evaluation.every=8",
    ]
    study = length_skew(seeds, changes, tuple(alphas))
    with Progress(transient=True) as bars:
        task = bars.add_task(precision, total=None)
        folder = cllora.run(
            study, place / precision, on_progress=lambda now: bars.update(task, total=now.cells, completed=now.index)
        )
    losses: dict[str, list[float]] = {alpha: [] for alpha in alphas}
    for cell in study.cells():
        losses[str(cell.experiment.partition.options["alpha"])].append(
            read_rounds(folder / cell.name)[-1]["global_loss"]
        )
    return losses


def interval(differences: list[float]) -> dict[str, float]:
    mean, low, high = paired_interval(differences)
    return {"mean": round(mean, 5), "low": round(low, 5), "high": round(high, 5)}


def minus(left: list[float], right: list[float]) -> list[float]:
    return [a - b for a, b in zip(left, right, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--alphas", nargs="+", default=["0.1", CONTROL])
    parser.add_argument("--place", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if CONTROL not in arguments.alphas:
        parser.error(f"--alphas needs {CONTROL}, against which the others are held")
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.place or Path(folder)
        losses = {p: final_losses(p, arguments.alphas, arguments.seeds, place) for p in PRECISIONS}
    effects = {
        p: {a: minus(by_alpha[a], by_alpha[CONTROL]) for a in arguments.alphas if a != CONTROL}
        for p, by_alpha in losses.items()
    }
    rows = {f"effect of alpha {a}, {p}": interval(effects[p][a]) for a in effects["float32"] for p in PRECISIONS}
    for a in effects["float32"]:
        rows[f"effect of alpha {a}, bfloat16 minus float32"] = interval(
            minus(effects["bfloat16"][a], effects["float32"][a])
        )
    for a in arguments.alphas:
        rows[f"loss at alpha {a}, bfloat16 minus float32"] = interval(
            minus(losses["bfloat16"][a], losses["float32"][a])
        )
    table = Table("nats per token", "mean", "95 % interval", box=None)
    for name, row in rows.items():
        table.add_row(name, f"{row['mean']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}")
    Console(width=110).print(table)
    if arguments.out:
        measured.write(arguments.out, {"losses": losses, **rows})


if __name__ == "__main__":
    main()
