"""Folders of runs with made-up losses, written with the store: something for the report to be tested and looked at on.

Run as a script, it writes a study as large as a real one: `python tests/support/synthetic.py FOLDER`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cllora import seeds, store
from cllora.federated.evaluation import with_losses
from cllora.metrics import RunRecord, Tables
from cllora.partition import classes_of, pool_of
from cllora.partition import make_partition as partition_pool
from cllora.probes.update_geometry import geometry
from cllora.spec import Cell, Experiment, Study
from cllora.types import ClientRecord, Layout, Losses, Partition, Round, RoundRecord, Update

HARM = {"0.1": 0.25, "1": 0.06, "100": 0.0, "iid": 0.0}
"""The share of the gain that an alpha costs."""
MESSAGE, FULL = 49_616, 1_324_785_664


def make_study(
    alphas: tuple[Any, ...] = (0.1, "iid"),
    num_seeds: int = 1,
    clients: int = 4,
    rounds: int = 3,
    local_test: float = 0.2,
    **more: Any,
) -> Study:
    fields = {
        "name": "length-skew",
        "model": {"name": "embedded", "context": 128},
        "partition": {"num_clients": clients, "local_test": local_test, "budget": "samples"},
        "federation": {"num_rounds": rounds, "clients_per_round": 2},
        "grid": {"partition.alpha": list(alphas)},
        "control": {"partition.alpha": "iid"} if "iid" in alphas else {},
        "seeds": num_seeds,
    }
    return Study.parse({**fields, **more})


def write_study(folder: Path, study: Study, per_client: int = 15, tested: int = 20) -> Path:
    """The study's folder, every cell run to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    store.write_json(folder / "study.json", study.to_mapping())
    for cell in study.cells():
        write_run(folder / cell.name, cell, per_client=per_client, tested=tested)
    return folder


def write_run(folder: Path, cell: Cell, per_client: int = 15, tested: int = 20, stop: int | None = None) -> Path:
    """One run's folder, up to round `stop`."""
    experiment = cell.experiment
    store.begin(folder, experiment)
    partition = make_partition(experiment, per_client, tested)
    store.write_partition(folder, partition)
    store.write_json(folder / "environment.json", environment(experiment))
    for after in make_rounds(experiment, partition, stop):
        table = _geometry(experiment.seed, after.number, partition, after.record.clients)
        store.write_probe(folder, "update_geometry", after.number, table, every_round=True)
        store.save_round(folder, after)
    return folder


def make_partition(experiment: Experiment, per_client: int = 15, tested: int = 20) -> Partition:
    """The real partitioner's deal of made-up texts: `per_client` for each client, `tested` for the global test."""
    asked = experiment.partition
    size = tested + per_client * asked.num_clients
    spread = seeds.rng(0, "synthetic lengths").lognormal(3.6, 0.9, size)
    lengths = np.maximum(2, spread.astype(np.int64))
    pool = pool_of(
        asked,
        ids=np.arange(tested, size),
        values=lengths[tested:].astype(float),
        lengths=lengths[tested:],
        context=experiment.model.context,
    )
    partition = partition_pool(asked, pool, np.arange(tested), experiment.seed)
    return replace(partition, class_of=classes_of(lengths.astype(float), pool.cuts))


def make_rounds(experiment: Experiment, partition: Partition, stop: int | None = None) -> Iterator[Round]:
    total = experiment.federation.num_rounds
    draw = seeds.rng(experiment.seed, "synthetic rounds", experiment.to_json())
    alpha = str(experiment.partition.options.get("alpha", "iid"))
    tokens, base = _texts(partition)
    everyone = np.concatenate([partition.global_test, np.unique(partition.test_ids)])
    gain = 0.42 * (1 - HARM.get(alpha, 0.1)) * (1 + 0.02 * draw.normal())
    for number in range((total if stop is None else stop) + 1):
        learned = gain * (1 - np.exp(-4 * number / total)) + 0.01 * draw.normal() * (number > 0)
        loss = base - learned * (1 + 0.1 * _normal("text", len(base)))
        blocks = [Losses("global", everyone, loss[everyone] * tokens[everyone], tokens[everyone])]
        clients = []
        chosen = draw.choice(partition.num_clients, 2, replace=False) if number else []
        for client in map(int, chosen):
            blocks.append(_local(client, partition, loss, tokens, draw))
            clients.append(_client_record(client, partition, tokens))
        record = with_losses(RoundRecord(number, tuple(clients), seconds=3.5), blocks, partition)
        yield Round(number, {"adapter": np.zeros(4, np.float32)}, {}, tuple(blocks), record)


def _texts(partition: Partition) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    assert partition.class_of is not None
    typical = np.array([11, 24, 45, 80, 127])
    tokens = typical[partition.class_of % len(typical)]
    return tokens, 4.4 - 0.28 * partition.class_of + 0.35 * _normal("base", len(tokens))


def _normal(name: str, size: int) -> NDArray[np.float64]:
    return seeds.rng(0, "synthetic", name).normal(size=size)


def _local(
    client: int,
    partition: Partition,
    loss: NDArray[np.float64],
    tokens: NDArray[np.int64],
    draw: np.random.Generator,
) -> Losses:
    """A local adapter: better on the classes the client owns, worse on the others."""
    assert partition.class_of is not None
    shares = np.bincount(partition.class_of[partition.train(client)], minlength=int(partition.class_of.max()) + 1)
    shares = shares / max(1, shares.sum())
    own = partition.test(client)
    samples = np.concatenate([own, partition.global_test])
    local = loss[samples] + 0.1 - 0.25 * shares[partition.class_of[samples]] + 0.02 * draw.normal(size=len(samples))
    return Losses(f"local/{client}", samples, local * tokens[samples], tokens[samples])


def _client_record(client: int, partition: Partition, tokens: NDArray[np.int64]) -> ClientRecord:
    train = partition.train(client)
    return ClientRecord(client, len(train), int(tokens[train].sum()), 3, 3.1, MESSAGE, MESSAGE, 1.25)


LAYOUT = Layout(
    tuple(f"layers.{i}.q_proj.lora_{factor}.weight" for i in range(2) for factor in "AB"), ((2, 16), (16, 2)) * 2
)


def _geometry(seed: int, number: int, partition: Partition, clients: Sequence[ClientRecord]) -> pd.DataFrame:
    """Every class of text pulls its own way, a client by its mix; and there is noise."""
    assert partition.class_of is not None
    many = int(partition.class_of.max()) + 1
    pulls = seeds.rng(0, "synthetic pulls").normal(size=(many, LAYOUT.size))
    noise = seeds.rng(seed, "synthetic updates", number).normal(size=(len(clients), LAYOUT.size))
    sent = seeds.rng(0, "synthetic adapter").normal(size=LAYOUT.size).astype(np.float32)
    updates = []
    for client, own in zip(clients, noise, strict=True):
        shares = np.bincount(partition.class_of[partition.train(client.client)], minlength=many)
        pull = 0.2 + shares / shares.sum() @ pulls + 0.3 * own
        adapter = (sent + 0.1 * pull).astype(np.float32)
        updates.append(Update(number, client.client, {"adapter": adapter}, client.samples, 1, 1, 1.0))
    return geometry(sent, updates, LAYOUT)


def record_of(tables: Tables, rounds: Sequence[Mapping[str, Any]], partition: Partition, **more: Any) -> RunRecord:
    """The record of a run that only ever was in memory."""
    experiment = make_study(rounds=max(1, len(rounds) - 1)).cells()[0].experiment
    return RunRecord(Path(), experiment, partition, rounds, tables, **more)


def environment(experiment: Experiment) -> Mapping[str, Any]:
    return {
        "versions": {"python": "3.11.7", "cllora": "0.1.0", "torch": "2.11.0", "transformers": "5.17.0"},
        "hardware": {"cpu": "a processor", "cores": 8, "threads": 8, "device": "cpu"},
        "precision": "float32",
        "data": {"fingerprint": "5e884898da280471", "samples": 3592, "dropped": {"empty": 3, "duplicate": 41}},
        "communication": {
            "trainable_parameters": 12_288,
            "full_parameters": FULL // 4,
            "message_bytes": MESSAGE,
            "full_bytes": FULL,
        },
        "model": {"name": experiment.model.name, "layers": 24},
    }


if __name__ == "__main__":
    write_study(
        Path(sys.argv[1]),
        make_study((0.1, 1, 100, "iid"), num_seeds=int((sys.argv[2:] or ["5"])[0]), clients=20, rounds=20),
        per_client=180,
        tested=360,
    )
