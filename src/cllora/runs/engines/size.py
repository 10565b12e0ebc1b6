"""The memory of a process that computes cells: an estimate from above, made without loading anything."""

import json
from pathlib import Path

from cllora.errors import UsageError
from cllora.model.passes import EVALUATION_BLOCK
from cllora.model.source import gguf_file, where
from cllora.spec import Experiment

LIBRARIES = 700_000_000
"""Bytes of a process with torch, transformers and PEFT in it."""
PER_HIDDEN = 34
"""Numbers that a layer keeps for the way back, for each token and unit of width (arXiv 2205.05198, 4.1)."""
SIZES = (("num_hidden_layers", "n_layer", "n_layers"), ("hidden_size", "n_embd", "d_model"), ("vocab_size",))
"""The names of depth, width and vocabulary in a model's config."""
UNKNOWN = 1 << 62
"""Bytes of a base of which nothing is here yet: more than any machine has."""


def bytes_of(experiment: Experiment) -> int:
    """Bytes that a process may come to which computes the experiment in float32."""
    weights, config = _weights(experiment.model.name)
    layers, width, vocabulary = (_number(config, *names) for names in SIZES)
    tokens = experiment.local.batch_size * experiment.model.context
    kept = tokens * (layers * width * PER_HIDDEN + 2 * vocabulary)
    return LIBRARIES + weights + 4 * (kept + EVALUATION_BLOCK["cpu"] * vocabulary)


def _weights(name: str) -> tuple[int, dict[str, object]]:
    """Bytes of a base's weights in float32, if they are stored in 16 bits (or twice as many); and its config."""
    try:
        file = gguf_file(name)
        if file is not None:
            return 8 * file.stat().st_size, {}
        folder = _folder(where(name))
    except UsageError:  # said where the base is loaded
        return UNKNOWN, {}
    stored = [path.stat().st_size for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    config = folder / "config.json"
    return 2 * sum(stored) or UNKNOWN, json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}


def _folder(place: str) -> Path:
    """A base's folder; of one from a hub, the one in its cache."""
    if Path(place).is_dir():
        return Path(place)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, "config.json")
    return Path(cached).parent if isinstance(cached, str) else Path(place)


def _number(config: dict[str, object], *names: str) -> int:
    return next((value for name in names if isinstance(value := config.get(name), int)), 0)
