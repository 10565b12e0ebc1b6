"""How close the learner comes to what the machine can do: tokens per second, and the share of the rate of a large
matrix product measured in the same run. Counted are 4 N operations per trained token and 2 N per evaluated one, N
being the parameters without position tables (training a frozen base needs no weight gradients).

    python benchmarks/learner.py [--shapes embedded opt-125m] [--precision bfloat16] [--device cuda] [--out FILE.json]

Run it alone: anything else on the machine slows several threads far more than its share.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

import measured
from cllora.model.batches import packed
from cllora.model.learner import Learner
from cllora.model.load import DTYPES, load_base
from cllora.model.precision import automatic
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Samples, Work

SHAPES = {"opt-125m": (768, 12, 12, 768), "opt-350m": (1024, 24, 16, 512), "opt-1.3b": (2048, 24, 32, 2048)}
TEXTS = {("cpu", True): 64, ("cpu", False): 16, ("cuda", True): 512, ("cuda", False): 512}
"""Texts by the device, and by whether the shape is small."""
LENGTHS = {"full": lambda draw, n: np.full(n, 128), "spread": lambda draw, n: np.clip(draw.lognormal(4, 1, n), 6, 128)}


BATCH = {"cpu": 8, "cuda": 32}


def model_folder(shape: str, place: Path) -> str:
    """`embedded`, or a folder with a random OPT of the shape."""
    if shape == "embedded":
        return shape
    hidden, layers, heads, projection = SHAPES[shape]
    config = transformers.OPTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * hidden,
        word_embed_proj_dim=projection,
        do_layer_norm_before=shape != "opt-350m",
    )
    transformers.OPTForCausalLM(config).to(torch.bfloat16).save_pretrained(place / shape)
    return str(place / shape)


def made_up(lengths: str, count: int, vocabulary: int) -> Samples:
    """Random tokens; `full` has 128 in every text, `spread` 6 to 128, as docstrings do."""
    draw = np.random.default_rng(0)
    sizes = LENGTHS[lengths](draw, count).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    tokens = draw.integers(4, vocabulary, offsets[-1]).astype(np.uint16)
    return Samples([""] * count, tokens, offsets, np.zeros(count, np.int32), {}, lengths)


def rate(work: Callable[[], float], repeats: int) -> float:
    """Median of what `work` did per second, after one run to warm up."""
    work()
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """Operations per second of a square matrix product, large enough for the device."""
    size, times = (2048, 1) if device == "cpu" else (8192, 20)
    a = torch.randn(size, size, device=device).to(dtype)

    def product() -> float:
        for _ in range(times):
            a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        return 2.0 * size**3 * times

    return rate(product, 15)


def side_by_side(learner: Learner, clients: int, batch_size: int) -> float:
    """How many times as fast some clients train in the same passes as one by one, each on half of the texts."""
    ids = np.arange(min(len(learner.samples) // 2, 32))
    jobs = [Job(Work(learner.initial(0)), ids, ("benchmark", client)) for client in range(clients)]
    local = LocalSpec(epochs=1, batch_size=batch_size, learning_rate=1e-4)

    def one_by_one() -> float:
        return sum(trained.tokens for job in jobs for trained in learner.train([job], local, 0))

    return rate(lambda: sum(trained.tokens for trained in learner.train(jobs, local, 0)), 3) / rate(one_by_one, 3)


def measure(shape: str, lengths: str, precision: str, device: str, place: Path) -> dict[str, float | str]:
    base = load_base(
        ModelSpec(name=model_folder(shape, place), precision=precision, device=device),
        LoraSpec(lora_dropout=0, target_modules=("q_proj", "v_proj")),
    )
    counted = sum(p.numel() for n, p in base.model.named_parameters() if "embed_positions" not in n and "lora" not in n)
    count = TEXTS[device, shape == "embedded"]
    learner = Learner(base, made_up(lengths, count, base.model.config.vocab_size), 128)
    start, ids = learner.initial(0), np.arange(count)
    local = LocalSpec(epochs=1, batch_size=BATCH[device], learning_rate=1e-4)
    training = rate(lambda: learner.train([Job(Work(start), ids, ("benchmark",))], local, 0)[0].tokens, 3)
    evaluation = rate(lambda: float(learner.evaluate("global", start, ids).tokens.sum()), 3)
    machine = matrix_rate(DTYPES[precision], device)
    seen = learner.samples.seen(ids, 128)
    rows = list(packed(learner.samples, [ids], 128, 4096, base.device))
    return {
        "shape": shape,
        "lengths": lengths,
        "precision": precision,
        "training tokens/s": round(training),
        "evaluation tokens/s": round(evaluation),
        "machine GFLOP/s": round(machine / 1e9),
        "training share": round(4 * counted * training / machine, 3),
        "evaluation share": round(2 * counted * evaluation / machine, 3),
        "padding in the network %": round(100 * (sum(row.tokens.numel() for row in rows) / seen.sum() - 1), 1),
        "2 clients at once, batches of 8": round(side_by_side(learner, 2, 8), 2),
        "8 clients at once, batches of 2": round(side_by_side(learner, 8, 2), 2),
        "peak GPU memory MB": round(torch.cuda.max_memory_allocated() / 1e6) if device == "cuda" else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["embedded", "opt-125m"], choices=["embedded", *SHAPES])
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), help="what a study takes here, by default")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    precisions = arguments.precision or [automatic(torch.device(arguments.device))]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, precision, lengths in itertools.product(arguments.shapes, precisions, LENGTHS):
            rows.append(measure(shape, lengths, precision, arguments.device, Path(folder)))
            print(*rows[-1].values(), flush=True, file=sys.stderr)
    table = Table("", *(f"{row['shape']}\n{row['lengths']}\n{row['precision']}" for row in rows), box=None)
    for name in list(rows[0])[3:]:
        table.add_row(name, *(str(row[name]) for row in rows))
    Console(width=120).print(table)
    if arguments.out:
        measured.write(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
