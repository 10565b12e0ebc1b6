"""The library equals federated LoRA written out by hand on one page (examples/one_page.py), in float32."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from cllora.federated import Federation, chosen_clients, rounds, strategy_of
from cllora.model.batches import training_batches
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.seeds import rng
from cllora.spec import Experiment
from cllora.types import Partition
from support.samples import made_up_samples

PAGE = Path(__file__).parents[1] / "examples" / "one_page.py"


def one_page():
    spec = importlib.util.spec_from_file_location("one_page", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def partition_of(sizes, test, per_client_test=2):
    train, own = [], []
    start = test
    for size in sizes:
        train.append(np.arange(start, start + size))
        own.append(np.arange(start + size, start + size + per_client_test))
        start += size + per_client_test

    def offsets(parts):
        return np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    return Partition(np.concatenate(train), offsets(train), np.concatenate(own), offsets(own), np.arange(test))


def test_library_equals_the_page_written_by_hand(tiny_models):
    folder = str(tiny_models("opt"))
    samples = made_up_samples(100)
    partition = partition_of([11, 24, 7, 17], test=15)
    experiment = Experiment.parse(
        {
            "model": {"name": folder, "context": 48, "precision": "float32", "device": "cpu"},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
            "partition": {"num_clients": 4},
            "federation": {"num_rounds": 4, "clients_per_round": 2},
            "local": {"epochs": 2, "batch_size": 5, "learning_rate": 2e-3},
            "seed": 5,
        }
    )
    learner = Learner(load_base(experiment.model, experiment.lora), samples, 48)
    strategy = strategy_of(experiment, learner)
    found = list(rounds(Federation(experiment, partition, strategy, learner)))

    page = one_page()
    model = page.lora_model(folder)
    start = {n: torch.from_numpy(t.copy()) for n, t in learner.layout.split(learner.initial(5)).items()}

    def text(sample):
        return samples.tokens_of(int(sample), 48).tolist()

    work = [
        {
            k: [
                [text(i) for i in batch]
                for batch in training_batches(
                    partition.train(k), experiment.local, rng(5, "order", "train", t, k, "shared")
                )
            ]
            for k in chosen_clients(experiment, t)
        }
        for t in range(1, 5)
    ]
    sizes = {k: len(partition.train(k)) for k in range(4)}
    adapter, losses = page.federate(model, start, work, sizes, [text(i) for i in partition.global_test], 2e-3)

    np.testing.assert_allclose([after.record.global_loss for after in found], losses, rtol=1e-5)
    assert np.abs(found[-1].state["adapter"] - learner.initial(5)).max() > 0.01
    mine = learner.layout.split(found[-1].state["adapter"])
    assert set(mine) == set(adapter)
    for name, tensor in adapter.items():
        np.testing.assert_allclose(mine[name], tensor.numpy(), rtol=1e-3, atol=2e-5)


def test_the_page_runs_by_itself(tiny_models, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["one_page.py", str(tiny_models("opt"))])
    one_page().main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["round 0", "round 1", "round 2"]
