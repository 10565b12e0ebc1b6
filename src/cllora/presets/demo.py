"""The studies that are run first."""

from cllora.presets.registry import presets
from cllora.spec import Study


@presets.register()
def demo() -> Study:
    """Does it matter that clients hold texts of other lengths, or that half of the texts are bad? 20 clients on a small
    base that does not know the texts; 8 seeds, in about three minutes on two cores."""
    return Study.parse(
        {
            "name": "demo",
            "model": {"name": "embedded-64", "context": 128},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
            "data": {
                "corpus": {"name": "functions", "per_package": 50},
                "corrupt": {"kind": "shuffle_words", "share": 0.5},
            },
            "partition": {"scheme": "client_mix", "by": "length", "classes": 5, "num_clients": 20},
            "federation": {"strategy": "fedavg", "num_rounds": 6, "clients_per_round": 2},
            "local": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
            "evaluation": {"after": 0.5},
            "grid": {"data.corrupt.share": [0, 0.5], "partition.alpha": [0.1, "iid"]},
            "control": {"data.corrupt.share": 0, "partition.alpha": "iid"},
            "seeds": 8,
        }
    )


@presets.register()
def real() -> Study:
    """Length skew on a real pretrained model of 135M parameters, in a few minutes on two cores."""
    return Study.parse(
        {
            "name": "real",
            "model": {"name": "smollm2-135m", "context": 64},
            "lora": {"r": 4, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
            "data": {"corpus": {"name": "docstrings", "per_package": 10}},
            "partition": {"scheme": "client_mix", "by": "length", "classes": 4, "num_clients": 8},
            "federation": {"strategy": "fedavg", "num_rounds": 2, "clients_per_round": 2},
            "local": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3},
            "grid": {"partition.alpha": [0.1, "iid"]},
            "control": {"partition.alpha": "iid"},
            "seeds": 1,
        }
    )
