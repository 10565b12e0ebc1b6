"""What a training step costs against the context: time and peak memory under a pattern of attention, as ratios to full.

One text of `context` tokens a step, a random Llama with grouped-query heads, LoRA on q and v. Each figure is of a
process of its own; `full` and the patterns take turns at every context.

    python benchmarks/attention.py [--contexts 1024 2048 4096 8192 16384 32768] [--group 2048] [--out FILE.json]
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from cllora.model.learner import Learner
from cllora.model.load import DTYPES, load_base
from cllora.model.patterns import pattern_of
from cllora.spec import Choice, LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Samples, Work

SHAPES = {"small": (256, 6, 8, 2, 4096), "125m": (768, 12, 12, 4, 50_272)}
"""Hidden size, layers, heads, key and value heads, vocabulary."""
CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768)


def save_base(shape: str, positions: int, place: Path) -> None:
    hidden, layers, heads, kv_heads, vocabulary = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=int(2.75 * hidden),
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(place)


def case(place: Path, context: int, choice: Choice, precision: str, steps: int) -> dict[str, float]:
    """Seconds of a step, the median after one to warm up, and the peak resident memory in MB (10^6 bytes)."""
    model = ModelSpec(name=str(place), context=context, precision=precision, device="cpu")
    base = load_base(model, LoraSpec(lora_dropout=0, target_modules=("q_proj", "v_proj")))
    tokens = np.random.default_rng(0).integers(4, base.model.config.vocab_size, context)
    samples = Samples([""], tokens, np.array([0, context]), np.zeros(1, np.int32), {}, "random")
    learner = Learner(base, samples, context, pattern_of(choice, context))
    start, seconds = learner.initial(0), []
    for _ in range(steps + 1):
        began = time.perf_counter()
        learner.train([Job(Work(start), np.zeros(1, np.int64), ("benchmark",))], LocalSpec(steps=1, batch_size=1), 0)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6
    return {"seconds": round(statistics.median(seconds[1:]), 3), "peak MB": peak}


def in_own_process(place: Path, context: int, choice: Choice, precision: str, steps: int) -> dict[str, float]:
    given = [str(place), str(context), choice.model_dump_json(), precision, str(steps)]
    done = subprocess.run([sys.executable, __file__, "--case", *given], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(shape: str, arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    choices = [Choice(name="full"), *(Choice(name=name, group=arguments.group) for name in arguments.patterns)]
    rows: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        save_base(shape, max(arguments.contexts), place)
        for context in arguments.contexts:
            found = [in_own_process(place, context, one, arguments.precision, arguments.steps) for one in choices]
            for choice, cost in zip(choices, found, strict=True):
                ratios = {
                    "times as fast as full": round(found[0]["seconds"] / cost["seconds"], 2),
                    "memory of full": round(cost["peak MB"] / found[0]["peak MB"], 2),
                }
                rows.append({"shape": shape, "context": context, "pattern": choice.name, **cost, **ratios})
    return rows


def group(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--contexts", nargs="+", type=int, default=list(CONTEXTS))
    parser.add_argument("--patterns", nargs="+", default=["s2"])
    parser.add_argument("--group", type=group, default=2048, help="tokens, or a share of the context such as 0.25")
    parser.add_argument("--precision", default="bfloat16", choices=DTYPES)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        place, context, choice, precision, steps = arguments.case
        given = Choice.model_validate_json(choice)
        print(json.dumps(case(Path(place), int(context), given, precision, int(steps))))
        return
    rows = [row for shape in arguments.shapes for row in measure(shape, arguments)]
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=110).print(table)
    if arguments.out:
        about = {
            "date": date.today().isoformat(),
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "command": f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}",
            "group": arguments.group,
            "precision": arguments.precision,
        }
        arguments.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
