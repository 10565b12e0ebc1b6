"""Studies on a tiny model: their fields, how one is interrupted, and what of its folder must be the same each time."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cllora.store import ProbeTables, read_losses, read_rounds


def study_fields(model, texts, **changes):
    fields = {
        "name": "tiny",
        "model": {"name": str(model), "context": 64, "device": "cpu", "precision": "float32"},
        "lora": {"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
        "data": {"path": str(texts), "test": 0.1},
        "partition": {"num_clients": 6, "min_samples": 5, "local_test": 0.2},
        "federation": {"num_rounds": 3, "clients_per_round": 2},
        "local": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2},
        "grid": {"partition.alpha": [0.1, "iid"]},
        "control": {"partition.alpha": "iid"},
        "seeds": 1,
    }
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            fields[section] = {**fields[section], field: value}
        else:
            fields[section] = value
    return fields


def interrupted(study, folder, **at):
    """Run a study until its progress is there (such as `round=2`), and interrupt it."""
    import cllora

    def on_progress(progress):
        if all(getattr(progress, field) == value for field, value in at.items()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cllora.run(study, folder, on_progress=on_progress)


def numbers(folder: Path):
    """Everything in a study's folder that must not depend on when, how often interrupted, or how fast it ran."""
    found = {}
    for spec in sorted(folder.glob("*/spec.json")):
        cell = spec.parent
        rounds = json.loads(json.dumps(read_rounds(cell)))
        for record in rounds:
            record.pop("seconds")
            for client in record["clients"]:
                client.pop("seconds")
        found[cell.name] = {
            "rounds": rounds,
            "losses": read_losses(cell).to_csv(),
            "probes": {name: table.to_csv() for name, table in ProbeTables(cell).items()},
            "partition": pd.read_parquet(cell / "partition.parquet").to_csv(),
            "state": (cell / "state.safetensors").read_bytes(),
            "adapter": [path.read_bytes() for path in sorted((cell / "adapter").rglob("*.safetensors"))],
        }
    return found
