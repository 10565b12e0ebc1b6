"""What a training step costs against the context: time and peak memory under a pattern of attention, as ratios to full.

A step is over one text of `context` tokens, with LoRA on q and v of a random Llama pretrained, as it were, at 512
positions. Every case is a process of its own; `full` and the patterns take turns, step by step, so that a machine that
grows slower or faster does so for all of them. Times are medians over the turns, and so are the ratios within a turn.

    python benchmarks/attention.py [--shapes embedded-rotary 125m] [--contexts 1024 2048 ...] [--out FILE.json]
    python benchmarks/attention.py --long 100000

The latter is one step of `s2` over a very long text, with and without gradient checkpointing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

import measured
from cllora.model.learner import Learner
from cllora.model.load import DTYPES, load_base
from cllora.model.machine import peak_memory
from cllora.model.patterns import pattern_of
from cllora.model.precision import automatic
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Samples, Work

SHAPES = {"embedded-rotary": (256, 704, 4, 8, 2, 4096), "125m": (768, 2048, 12, 12, 12, 50_272)}
"""Hidden and intermediate size, layers, heads, key and value heads, vocabulary."""
POSITIONS = 512
CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768)
FROM, SLOWER = 2048, 1.05
"""From which context on, and above which ratio to full, a pattern counts as slower than full."""

Row = dict[str, float | str | bool]


def save_base(shape: str, place: Path) -> None:
    hidden, intermediate, layers, heads, kv_heads, vocabulary = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(place)


def case(model: ModelSpec) -> None:
    """For each line of standard input a step, and its seconds and the peak memory in MB on standard output."""
    base = load_base(model, LoraSpec(lora_dropout=0, target_modules=("q_proj", "v_proj")))
    tokens = np.random.default_rng(0).integers(4, base.model.config.vocab_size, model.context)
    samples = Samples([""], tokens, np.array([0, model.context]), np.zeros(1, np.int32), {}, "random")
    learner = Learner(base, samples, model.context, pattern_of(model.attention, model.context))
    job = Job(Work(learner.initial(0)), np.zeros(1, np.int64), ("benchmark",))
    for _ in sys.stdin:
        began = time.perf_counter()
        learner.train([job], LocalSpec(steps=1, batch_size=1), 0)
        print(time.perf_counter() - began, peak_memory(base.device) // 10**6, flush=True)


@contextmanager
def stepper(place: Path, **model: Any) -> Iterator[Callable[[], tuple[float, int]]]:
    """A case in a process of its own: a function that takes a step and returns its seconds, and the peak memory in MB
    until then."""
    positions = "linear" if model["context"] > POSITIONS else "as_trained"
    asked = json.dumps({"name": str(place), "positions": positions, **model})
    command = [sys.executable, __file__, "--case", asked]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def step() -> tuple[float, int]:
            print(file=process.stdin, flush=True)
            seconds, peak = process.stdout.readline().split()
            return float(seconds), int(peak)

        yield step


def in_turn(place: Path, cases: Sequence[dict[str, Any]], steps: int, seconds: float) -> list[list[tuple[float, int]]]:
    """Each case's steps: `steps` turns after one to warm up, or as many as begin within `seconds`, but one.

    Where the first turn alone takes longer than that, it is the one: warming up is a small part of such a step.
    """
    with ExitStack() as stack:
        steps_of = [stack.enter_context(stepper(place, **case)) for case in cases]
        turns = [[step() for step in steps_of]]
        if sum(s for s, _ in turns[0]) < seconds:
            turns = []
            while len(turns) < steps and (not turns or sum(s for turn in turns for s, _ in turn) < seconds):
                turns.append([step() for step in steps_of])
    return [list(turns_of) for turns_of in zip(*turns, strict=True)]


def curve(shape: str, arguments: argparse.Namespace) -> list[Row]:
    """A row for every context and pattern."""
    choices = ["full", *({"name": name, "group": arguments.group} for name in arguments.patterns)]
    fixed = {"precision": arguments.precision, "device": arguments.device, "checkpointing": arguments.checkpointing}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        save_base(shape, Path(folder))
        for context in arguments.contexts:
            cases = [{"context": context, "attention": choice, **fixed} for choice in choices]
            seconds = in_turn(Path(folder), cases, arguments.steps, arguments.seconds)
            full = seconds[0]
            for name, steps in zip(("full", *arguments.patterns), seconds, strict=True):
                faster = statistics.median(a / b for (a, _), (b, _) in zip(full, steps, strict=True))
                row: Row = {
                    "shape": shape,
                    "context": context,
                    "pattern": name,
                    "seconds": round(statistics.median(s for s, _ in steps), 3),
                    "turns": len(steps),
                    "peak MB": steps[-1][1],
                    "times as fast as full": round(faster, 2),
                    "memory of full": round(steps[-1][1] / full[-1][1], 2),
                }
                rows.append(row)
                print(*row.values(), flush=True, file=sys.stderr)
    return rows


def long(shape: str, arguments: argparse.Namespace) -> list[Row]:
    """One step over a text of `--long` tokens, the first of its process, with and without checkpointing."""
    rows: list[Row] = []
    attention = {"name": "s2", "group": arguments.group}
    fixed = {"precision": arguments.precision, "device": arguments.device, "context": arguments.long}
    with tempfile.TemporaryDirectory() as folder:
        save_base(shape, Path(folder))
        for checkpointing in (True, False):
            with stepper(Path(folder), attention=attention, checkpointing=checkpointing, **fixed) as step:
                seconds, peak = step()
            rows.append(
                {
                    "shape": shape,
                    "context": arguments.long,
                    "pattern": "s2",
                    "checkpointing": checkpointing,
                    "seconds": round(seconds, 1),
                    "peak MB": peak,
                }
            )
    return rows


def slower(rows: Sequence[Row]) -> list[str]:
    """Where a pattern is slower than full by more than 5 %, from 2,048 tokens on."""
    return [
        f"{row['pattern']} is slower than full at {row['context']:,} tokens ({row['shape']}): "
        f"{row['times as fast as full']} times as fast"
        for row in rows
        if float(row["context"]) >= FROM and float(row["times as fast as full"]) < 1 / SLOWER
    ]


def group(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--contexts", nargs="+", type=int, default=list(CONTEXTS))
    parser.add_argument("--patterns", nargs="+", default=["s2"])
    parser.add_argument("--group", type=group, default=2048, help="tokens, or a share of the context such as 0.25")
    parser.add_argument("--precision", choices=DTYPES, help="what a study takes here, by default")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=5, help="turns at each context")
    parser.add_argument("--seconds", type=float, default=120, help="no further turn at a context after so long")
    parser.add_argument("--long", type=int, metavar="TOKENS", help="instead: a step over one text of so many tokens")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    arguments = options().parse_args()
    arguments.precision = arguments.precision or automatic(torch.device(arguments.device))
    if arguments.case:
        case(ModelSpec.model_validate_json(arguments.case))
        return
    if arguments.long:
        rows, warnings = long(arguments.shapes[0], arguments), []
    else:
        rows = [row for shape in arguments.shapes for row in curve(shape, arguments)]
        warnings = slower(rows)
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console(width=110)
    console.print(table)
    for line in warnings:
        console.print(line)
    if arguments.out:
        asked = {"group": arguments.group, "precision": arguments.precision}
        measured.write(arguments.out, {**asked, "rows": rows, "slower than full": warnings})


if __name__ == "__main__":
    main()
