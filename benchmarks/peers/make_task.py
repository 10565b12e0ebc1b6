"""Make the task: the texts, who owns them, who trains on which batches when, the base and the initial adapter, all as
cllora itself deals and draws them. Run with cllora's own interpreter.

    python benchmarks/peers/make_task.py FOLDER [--shape embedded|opt-125m] [--rounds 10] [--per-package 140]
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.numpy import save_file

from cllora.federated import chosen_clients
from cllora.model.batches import training_batches
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.model.source import EMBEDDED
from cllora.partition import assign
from cllora.runs.study_cache import samples_of
from cllora.seeds import rng
from cllora.spec import Experiment, Study
from cllora.types import Partition

SIZES = {"embedded": {"per_package": 140, "rounds": 10}, "opt-125m": {"per_package": 30, "rounds": 3}}
"""Texts of each of 17 packages, and rounds: what lets a machine of two cores run all systems in some twenty minutes."""


def study_of(base: Path, per_package: int, rounds: int) -> Study:
    """Length skew over 20 clients, about a sixth of the texts held out for all and a fifth of each client's."""
    return Study.parse(
        {
            "name": "peers",
            "model": {"name": str(base), "context": 128, "device": "cpu"},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
            "data": {"corpus": {"name": "docstrings", "per_package": per_package}, "test": 0.17},
            "partition": {"scheme": "client_mix", "by": "length", "num_clients": 20, "alpha": 1, "local_test": 0.2},
            "federation": {"strategy": "fedavg", "num_rounds": rounds, "clients_per_round": 2},
            "local": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3},
            "evaluation": {"local_models": False},
        }
    )


def write_base(shape: str, folder: Path) -> None:
    """The embedded base, or an OPT of 125 million random parameters with the embedded base's tokenizer."""
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.md", "*.svg"))
    if shape == "embedded":
        return
    torch.manual_seed(0)
    config = transformers.OPTConfig(dropout=0.0, attention_dropout=0.0)  # its defaults are the shape of OPT-125M
    transformers.OPTForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def rounds_of(experiment: Experiment, partition: Partition) -> list[dict[int, list[list[int]]]]:
    """Each round's clients and their batches, drawn as `Learner.train` draws them for FedAvg."""
    return [
        {
            client: [
                batch.tolist()
                for batch in training_batches(
                    partition.train(client),
                    experiment.local,
                    rng(experiment.seed, "order", "train", number, client, "shared"),
                )
            ]
            for client in chosen_clients(experiment, number)
        }
        for number in range(1, experiment.federation.num_rounds + 1)
    ]


def make(folder: Path, shape: str, per_package: int, rounds: int) -> None:
    folder.mkdir(parents=True)
    folder = folder.resolve()
    # Its own cache: the texts are read here, once, so that no system spends its measured time on reading them.
    os.environ["CLLORA_CACHE"] = str(folder / "cache")
    write_base(shape, folder / "base")
    study = study_of(folder / "base", per_package, rounds)
    experiment = study.cells()[0].experiment
    samples = samples_of(experiment)
    partition = assign(experiment, samples)
    learner = Learner(load_base(experiment.model, experiment.lora), samples, experiment.model.context)
    save_file(learner.layout.split(learner.initial(experiment.seed)), folder / "initial.safetensors")
    lora = experiment.lora
    task: dict[str, Any] = {
        "shape": shape,
        "texts": [samples.tokens_of(i, experiment.model.context).tolist() for i in range(len(samples))],
        "rounds": rounds_of(experiment, partition),
        "global_test": partition.global_test.tolist(),
        "clients_test": [partition.test(k).tolist() for k in range(partition.num_clients)],
        "learning_rate": experiment.local.learning_rate,
        "max_grad_norm": experiment.local.max_grad_norm,
        "lora": {"r": lora.r, "lora_alpha": lora.lora_alpha, "target_modules": list(lora.target_modules or ())},
        "study": study.to_mapping(),
    }
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", default="embedded", choices=SIZES)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--per-package", type=int)
    arguments = parser.parse_args()
    size = SIZES[arguments.shape]
    per_package = arguments.per_package or size["per_package"]
    make(arguments.folder, arguments.shape, per_package, arguments.rounds or size["rounds"])


if __name__ == "__main__":
    main()
