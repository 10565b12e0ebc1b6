"""How long it takes to deal ten million samples to a hundred thousand clients, and in what memory: everything from the
feature's values to the finished partition with its measured heterogeneity. Each scheme in a process of its own.

    python benchmarks/partition.py [--out FILE.json]
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cllora.partition import make_partition, pool_of
from cllora.spec import PartitionSpec

SCHEMES = ("client_mix", "class_split", "quantity")
SAMPLES, CLIENTS = 10_000_000, 100_000


def deal(scheme: str) -> dict[str, float]:
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(4, 1, SAMPLES), 2, 4000).astype(np.int64)
    values, ids = lengths.astype(float), np.arange(SAMPLES, dtype=np.int64)
    spec = PartitionSpec(scheme=scheme, num_clients=CLIENTS, alpha=1.0)
    began = time.perf_counter()
    pool = pool_of(spec, ids=ids, values=values, lengths=lengths, context=128)
    partition = make_partition(spec, pool, np.zeros(0, np.int64), 0)
    seconds = time.perf_counter() - began
    assert len(partition.train_ids) + len(partition.test_ids) == SAMPLES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": round(seconds, 1), "peak GB": round(peak, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scheme", choices=SCHEMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scheme:
        print(json.dumps(deal(arguments.scheme)))
        return
    rows = {}
    for scheme in SCHEMES:
        command = [sys.executable, __file__, "--scheme", scheme]
        rows[scheme] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    table = Table("scheme", "seconds", "peak GB", box=None)
    for scheme, row in rows.items():
        table.add_row(scheme, str(row["seconds"]), str(row["peak GB"]))
    Console().print(table)
    if arguments.out:
        about = {
            "date": date.today().isoformat(),
            "machine": platform.machine(),
            "numpy": np.__version__,
            "command": "python benchmarks/partition.py",
            "samples": SAMPLES,
            "clients": CLIENTS,
        }
        arguments.out.write_text(json.dumps({**about, "schemes": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
