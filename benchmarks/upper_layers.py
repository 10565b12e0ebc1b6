"""CPU seconds of training and evaluation with LoRA in the upper half of the layers, as ratios to LoRA in all of them:
with every pass through the whole model, and with what the lower half makes of a text kept (`cllora.model.activations`).

    python benchmarks/upper_layers.py [--shapes embedded embedded-64 opt-125m] [--threads 1] [--out FILE.json]

The ways take turns, and CPU time is counted, so that other work on the machine matters less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import measured
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.runs.activation_file import ActivationFile
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Work
from learner import SHAPES, made_up, model_folder

SHIPPED = ("embedded", "embedded-64", "embedded-128", "embedded-rotary")
LOCAL = LocalSpec(epochs=1, batch_size=8, learning_rate=1e-4)


def learner_of(model: str, place: Path, upper: bool, keep: bool, texts: int) -> Learner:
    """LoRA on q and v, in all layers or the upper half of them."""
    spec = ModelSpec(name=model, precision="float32", device="cpu")
    names = {"target_modules": ("q_proj", "v_proj"), "lora_dropout": 0.0}
    base = load_base(spec, LoraSpec(**names))
    depth = base.model.config.num_hidden_layers
    if upper:
        base = load_base(spec, LoraSpec(**names, layers_to_transform=tuple(range(depth // 2, depth))))
    learner = Learner(base, made_up("spread", texts, 4096), 128)
    if keep:
        learner.keep_activations(lambda use, below: partial(ActivationFile, place / use, most=10**10))
    return learner


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(shape: str, place: Path) -> dict[str, float | str]:
    texts, turns = (200, 5) if shape in SHIPPED else (16, 3)
    model = shape if shape in SHIPPED else model_folder(shape, place)
    ways = {"all layers": (False, False), "upper half": (True, False), "upper half, kept": (True, True)}
    learners = {way: learner_of(model, place, *choices, texts) for way, choices in ways.items()}
    ids = np.arange(texts)
    makes = seconds(lambda: learners["upper half, kept"].evaluate("x", learners["upper half"].initial(0), ids))
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(1 + turns):  # the first warms up
        for way, learner in learners.items():
            start = learner.initial(0)
            for use, work in {
                "training": partial(learner.train, [Job(Work(start), ids, ("benchmark", turn))], LOCAL, 0),
                "evaluation": partial(learner.evaluate, "x", start, ids),
            }.items():
                times.setdefault((use, way), []).append(seconds(work))
    cost = {key: statistics.median(values[1:]) for key, values in times.items()}
    tokens = int(learners["all layers"].samples.predicted(ids, 128).sum())
    row: dict[str, float | str] = {"shape": shape, "first evaluation, s": round(makes, 2)}
    for use in ("training", "evaluation"):
        row[f"{use}, all layers, us per token"] = round(1e6 * cost[use, "all layers"] / tokens, 1)
        for way in ("upper half", "upper half, kept"):
            row[f"{use}, {way}"] = round(cost[use, way] / cost[use, "all layers"], 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = ("embedded", "embedded-64", "opt-125m")
    parser.add_argument("--shapes", nargs="+", default=shapes, choices=[*SHIPPED, *SHAPES])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(shape, Path(folder)))
        print(rows[-1], file=sys.stderr, flush=True)
    if arguments.out:
        measured.write(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
