"""The studies of CLLoRA (Zhang et al. 2025, arXiv 2502.18910), as far as the paper states them.

What it leaves open is filled in from the LoRA example of the framework that it was most likely run on; docs/method.md
marks every setting as stated or assumed.
"""

from typing import Any

from cllora.presets.registered import presets
from cllora.spec import Study


def _paper(name: str, scheme: dict[str, Any]) -> Study:
    return Study.parse(
        {
            "name": name,
            "model": {"name": "facebook/opt-350m", "context": 128},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
            "data": {"hub": "srivatsavaasista/textgenerator-ds-mini", "text": "review", "test": "validation"},
            "partition": {**scheme, "num_clients": 20, "by": "length", "classes": 5},
            "federation": {"strategy": "fedavg", "num_rounds": 20, "clients_per_round": 2},
            "local": {"epochs": 3, "batch_size": 32, "learning_rate": 5e-5, "lr_scheduler_type": "linear"},
            "grid": {"partition.alpha": [0.1, 1, 100, "iid"]},
            "control": {"partition.alpha": "iid"},
            "seeds": 5,
        }
    )


@presets.register("paper/length")
def length() -> Study:
    """The paper's Figure 6: clients differ in their mix of length classes; OPT-350M, 3 local epochs."""
    return _paper("paper-length", {"scheme": "client_mix", "overlap": True})


@presets.register("paper/quantity")
def quantity() -> Study:
    """The paper's Figure 7: clients differ in how many texts they hold; OPT-350M, 3 local epochs."""
    return _paper("paper-quantity", {"scheme": "quantity"})
