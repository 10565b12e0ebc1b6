"""The study that benchmarks run, apart from the demo, so that what they measure stays the same when that changes."""

from cllora.spec import Study

FIELDS = {
    "model": {"name": "embedded-64", "context": 128},
    "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
    "data": {"corpus": {"name": "docstrings", "per_package": 100}},
    "partition": {"scheme": "client_mix", "by": "length", "classes": 5, "num_clients": 20},
    "federation": {"strategy": "fedavg", "num_rounds": 8, "clients_per_round": 2},
    "local": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
    "control": {"partition.alpha": "iid"},
}


def length_skew(seeds: int, changes: list[str], alphas: tuple[object, ...] = (0.1, "iid")) -> Study:
    """Length skew at some alphas and IID, 20 clients, with changes written as `--set` takes them."""
    fields = {**FIELDS, "name": "length-skew", "grid": {"partition.alpha": list(alphas)}, "seeds": seeds}
    return Study.parse(fields, changes)
