"""What a run needs in memory: with many clients against few, by size of model, and by size of vocabulary.

Each figure is the peak resident memory of a process of its own.

    python benchmarks/memory.py [--out FILE.json]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

import measured
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.precision import automatic
from cllora.spec import LocalSpec, LoraSpec, ModelSpec, Study
from cllora.types import Job, Work
from learner import SHAPES, made_up

CLIENTS = (20, 2_000)
VOCABULARIES = (4_096, 50_272, 200_000)


def clients(count: int, place: Path) -> None:
    """A whole run in which so many clients share the same 30,000 texts."""
    import cllora

    texts = place / "texts.jsonl"
    draw = np.random.default_rng(0)
    with texts.open("w", encoding="utf-8") as file:
        for size in np.clip(draw.lognormal(3, 1, 30_000), 3, 60).astype(int):
            file.write(json.dumps({"text": " ".join(draw.choice(["alpha", "beta", "gamma", "delta"], size))}) + "\n")
    study = {
        "name": "memory",
        "data": {"path": str(texts), "test": 0.01},
        "partition": {"num_clients": count, "alpha": 1, "min_samples": 5, "local_test": 0.1},
        "federation": {"num_rounds": 4, "clients_per_round": 2},
        "local": {"steps": 5, "batch_size": 8},
        "evaluation": {"every": 4},
        "grid": {"partition.alpha": [1]},
        "control": {"partition.alpha": 1},
        "seeds": 1,
    }
    cllora.run(Study.parse(study), place / "out")


def training(vocabulary: int, place: Path) -> None:
    """Training and evaluation of 8 x 128 tokens on a random OPT from disk, in the precision that a study takes."""
    precision = automatic(torch.device("cpu"))
    learner = Learner(
        load_base(ModelSpec(name=str(place / "base"), precision=precision, device="cpu"), LoraSpec(lora_dropout=0)),
        made_up("full", 32, vocabulary),
        128,
    )
    start, ids = learner.initial(0), np.arange(32)
    learner.train([Job(Work(start), ids[:16], ("memory",))], LocalSpec(batch_size=8, steps=3), 0)
    learner.evaluate("global", start, ids)


def save_base(shape: tuple[int, int, int, int], vocabulary: int, place: Path) -> None:
    hidden, layers, heads, projection = shape
    config = transformers.OPTConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * hidden,
        word_embed_proj_dim=projection,
    )
    transformers.OPTForCausalLM(config).to(torch.bfloat16).save_pretrained(place / "base")


SMALL = (256, 4, 8, 256)
CASES = {
    **{f"a run with {count:,} clients, embedded base": ("clients", count) for count in CLIENTS},
    **{f"8 x 128 tokens, embedded shape, {v:,} tokens in the vocabulary": ("training", SMALL, v) for v in VOCABULARIES},
    "8 x 128 tokens, OPT-125M shape": ("training", SHAPES["opt-125m"], 50_272),
    "8 x 128 tokens, OPT-350M shape": ("training", SHAPES["opt-350m"], 50_272),
}


def peak(case: str) -> int:
    """Peak resident memory in MB (10^6 bytes) of the case in a process of its own."""
    kind, *arguments = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        if kind == "training":
            save_base(*arguments, Path(folder))
        done = subprocess.run(
            [sys.executable, __file__, "--case", case, "--place", folder], check=True, capture_output=True, text=True
        )
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        kind, *given = CASES[arguments.case]
        {"clients": clients, "training": training}[kind](given[-1], arguments.place)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6)
        return
    table = Table("case", "peak MB", box=None)
    rows = {case: peak(case) for case in CASES}
    for case, megabytes in rows.items():
        table.add_row(case, f"{megabytes:,}")
    Console(width=110).print(table)
    if arguments.out:
        measured.write(arguments.out, {"peak MB": rows})


if __name__ == "__main__":
    main()
