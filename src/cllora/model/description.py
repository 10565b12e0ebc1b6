"""What a base runs on, for whoever reads a run's folder later."""

from collections.abc import Mapping
from typing import Any

import torch

from cllora.model.fingerprint import fingerprint_of_arrays
from cllora.model.load import Base
from cllora.model.parts import numbers_by_part
from cllora.model.patterns import Pattern
from cllora.types import Layout


def description(base: Base, layout: Layout, patterns: Mapping[str, Pattern]) -> dict[str, Any]:
    """Hardware, precision, sizes, the model and its patterns of attention, as `Engine.describe` gives them."""
    start = {} if base.start is None else {"start_fingerprint": fingerprint_of_arrays(base.start)}
    return {
        "hardware": {
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "cpu",
        },
        "precision": base.precision,
        "communication": {
            "trainable_parameters": layout.size,
            "full_parameters": base.full_parameters,
            "full_bytes": 4 * base.full_parameters,
            "parts": {part: 4 * count for part, count in numbers_by_part(base.model, layout).items()},
        },
        "model": {
            "type": base.model.config.model_type,
            "fingerprint": base.fingerprint,
            "lora_on": list(base.targets),
            **start,
        },
        "attention": {use: {"name": it.name, "group": it.group} for use, it in patterns.items()},
    }
