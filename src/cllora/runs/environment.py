"""What a run ran on, so that a reader of its folder knows."""

import importlib.metadata
import os
import platform
from typing import Any

import numpy as np
import torch

from cllora.model.fingerprint import fingerprint_of_arrays
from cllora.model.learner import Learner
from cllora.model.parts import numbers_by_part
from cllora.model.precision import cpu_name
from cllora.model.source import origin_of
from cllora.spec import Experiment
from cllora.store import message_bytes
from cllora.types import Samples

PACKAGES = ("cllora", "torch", "transformers", "peft", "tokenizers", "datasets", "numpy")


def environment(experiment: Experiment, samples: Samples, learner: Learner) -> dict[str, Any]:
    """Versions, hardware, precision, the data's fingerprint and what a message weighs."""
    base = learner.base
    return {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "hardware": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "cpu",
        },
        "precision": base.precision,
        "data": {"fingerprint": samples.fingerprint, "samples": samples.originals, "dropped": dict(samples.dropped)},
        "communication": {
            "trainable_parameters": learner.layout.size,
            "full_parameters": base.full_parameters,
            "message_bytes": message_bytes({"adapter": np.zeros(learner.layout.size, np.float32)}, learner.layout),
            "full_bytes": 4 * base.full_parameters,
            "parts": {part: 4 * count for part, count in numbers_by_part(base.model, learner.layout).items()},
        },
        "model": {
            "name": experiment.model.name,
            "type": base.model.config.model_type,
            "fingerprint": base.fingerprint,
            "lora_on": list(base.targets),
            **({} if base.start is None else {"start_fingerprint": fingerprint_of_arrays(base.start)}),
        }
        | _origin(experiment),
        "attention": {use: {"name": it.name, "group": it.group} for use, it in learner.patterns.items()},
    }


def _origin(experiment: Experiment) -> dict[str, Any]:
    """Where a base from a GGUF file comes from, and under which licence."""
    found = origin_of(experiment.model.name)
    return {} if found is None else {"origin": found}
