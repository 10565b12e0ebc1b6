"""The studies of CLLoRA (Zhang et al. 2025, arXiv 2502.18910), as far as the paper states them.

What it leaves open is filled in from the LoRA example of the framework that it was most likely run on; docs/method.md
marks every setting as stated or assumed.
"""

from cllora.presets import StandIns, presets
from cllora.spec import Fields, Study

REVIEWS = "srivatsavaasista/textgenerator-ds-mini"
EPOCHS = {"facebook/opt-125m": 5, "facebook/opt-350m": 3, "facebook/opt-1.3b": 1}
"""The paper's models, and the local epochs that go with each."""

STAND_INS = StandIns(
    "the paper's",
    {
        "facebook/opt-125m": "embedded-64",
        "facebook/opt-350m": "embedded-128",
        "facebook/opt-1.3b": "embedded",
    },
)
"""The stand-in for each where a study has an axis over them."""


def paper_fields(name: str, **partition: object) -> Fields:
    """One model of the paper, OPT-350M, over its 20 clients: the fields that its studies and the ablations share."""
    return {
        "name": name,
        "model": {"name": "facebook/opt-350m", "context": 128},
        "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
        "data": {"hub": REVIEWS, "text": "review", "test": "validation"},
        "partition": {**partition, "num_clients": 20, "by": "length", "classes": 5},
        "federation": {"strategy": "fedavg", "num_rounds": 20, "clients_per_round": 2},
        "local": {"epochs": 3, "batch_size": 32, "learning_rate": 5e-5, "lr_scheduler_type": "linear"},
        "grid": {"partition.alpha": [0.1, 1, 100, "iid"]},
        "control": {"partition.alpha": "iid"},
        "seeds": 5,
    }


@presets.register("paper/table1", stand_ins=STAND_INS)
def table1() -> Study:
    """The paper's Table 1: what OPT-125M, 350M and 1.3B send, in one round of one step on a few texts."""
    fields = paper_fields("paper-table1", scheme="iid")
    return Study.parse(
        {
            **fields,
            "data": {**fields["data"], "limit": 400, "test": 0.1},
            "federation": {**fields["federation"], "num_rounds": 1},
            "local": {**fields["local"], "epochs": 1, "steps": 1, "batch_size": 1},
            "evaluation": {"local_models": False},
            "grid": {"model.name": list(EPOCHS)},
            "control": {},
            "seeds": 1,
        }
    )


@presets.register("paper/length", stand_ins=STAND_INS)
def length() -> Study:
    """The paper's Figure 6: clients differ in their mix of length classes; OPT-125M, 350M and 1.3B with 5, 3 and 1
    local epochs."""
    fields = paper_fields("paper-length", scheme="client_mix", overlap=True)
    return Study.parse(
        {
            **fields,
            "grid": {"model.name": list(EPOCHS), **fields["grid"]},
            "where": {"model.name": {name: {"local.epochs": epochs} for name, epochs in EPOCHS.items()}},
        }
    )


@presets.register("paper/quantity")
def quantity() -> Study:
    """The paper's Figure 7: clients differ in how many texts they hold; OPT-350M, 3 local epochs."""
    return Study.parse(paper_fields("paper-quantity", scheme="quantity"))
