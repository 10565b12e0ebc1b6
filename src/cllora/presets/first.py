"""The study that is run first."""

from cllora.presets.registered import presets
from cllora.spec import Study


@presets.register()
def demo() -> Study:
    """Length skew over 20 clients on the embedded base, in a few minutes on two cores."""
    return Study.parse(
        {
            "name": "demo",
            "model": {"name": "embedded", "context": 128},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
            "data": {"corpus": {"name": "docstrings", "per_package": 100}},
            "partition": {"scheme": "client_mix", "by": "length", "classes": 5, "num_clients": 20},
            "federation": {"strategy": "fedavg", "num_rounds": 8, "clients_per_round": 2},
            "local": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
            "grid": {"partition.alpha": [0.1, 1, 100, "iid"]},
            "control": {"partition.alpha": "iid"},
            "seeds": 1,
        }
    )
