"""LongLoRA (Chen et al. 2024, arXiv 2309.12307) inside a federation: a context eight times that of pretraining.

The paper's recipe: positions interpolated linearly, groups of a quarter of the context with half of the heads shifted,
LoRA of rank 8 and alpha 16 on the four maps of attention beside norms and embeddings, AdamW at 2e-5, 1,000 steps.
"""

from collections.abc import Mapping, Sequence

from cllora.presets import presets
from cllora.spec import Fields, Study

BASE, CONTEXT = "HuggingFaceTB/SmolLM-135M", 8 * 2048
"""A Llama that is open to all, pretrained at 2,048 tokens, and eight times as many."""

TRAINED = ("full", "lora", "lora+norms", "lora+embeddings", "lora+norms+embeddings")


def _long_fields(name: str, grid: Mapping[str, Sequence[object]], control: Mapping[str, object]) -> Fields:
    """Few clients with equal shares of the same texts, half of them a round: what is asked is not of skew.

    The paper's 1,000 steps are all clients' together. The optimiser begins anew with every client's turn, so each has a
    short warm-up. No texts are kept for clients' own tests, since all are alike.
    """
    return {
        "name": name,
        "model": {"name": BASE, "context": CONTEXT, "positions": "linear", "attention": "s2"},
        "lora": {
            "r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
            "train": "lora+norms+embeddings",
        },
        "data": {"hub": "emozilla/pg19", "test": "validation", "limit": 4000},
        "partition": {"scheme": "iid", "num_clients": 4, "local_test": 0},
        "federation": {"strategy": "fedavg", "num_rounds": 10, "clients_per_round": 2},
        "local": {
            "steps": 50,
            "batch_size": 8,
            "learning_rate": 2e-5,
            "lr_scheduler_type": "constant",
            "warmup_steps": 2,
        },
        "evaluation": {"every": 10, "local_models": False, "by_position": True, "passkey": 5},
        "grid": grid,
        "control": control,
        "seeds": 5,
    }


@presets.register()
def longlora() -> Study:
    """Does LongLoRA come as far as full fine-tuning, and at what cost? Five choices of what is trained, under full, s2
    and local attention, at eight times the base's context; evaluated with full attention."""
    grid = {"lora.train": TRAINED, "model.attention": ("full", "s2", "local")}
    return Study.parse(_long_fields("longlora", grid, {"lora.train": "full", "model.attention": "full"}))


@presets.register("longlora/rank")
def long_rank() -> Study:
    """Is it rank or embeddings and norms that LoRA lacks at long context? r 2, 8, 32 with and without them, the scale
    lora_alpha / r held at 2, under s2."""
    ranks = (2, 8, 32)
    grid = {"lora.r": ranks, "lora.train": ("lora", "lora+norms+embeddings")}
    fields = _long_fields("longlora-rank", grid, {"lora.r": 8, "lora.train": "lora"})
    return Study.parse({**fields, "where": {"lora.r": {str(r): {"lora.lora_alpha": 2 * r} for r in ranks}}})
