"""What a run ran on, so that a reader of its folder knows."""

import importlib.metadata
import os
import platform
from typing import Any

import numpy as np

from cllora.model.engine import Engine
from cllora.model.precision import cpu_name
from cllora.model.source import origin_of
from cllora.spec import Experiment
from cllora.store import message_bytes
from cllora.types import Samples

PACKAGES = ("cllora", "torch", "transformers", "peft", "tokenizers", "datasets", "numpy")


def environment(experiment: Experiment, samples: Samples, engine: Engine) -> dict[str, Any]:
    """Versions, hardware, precision, the data's fingerprint and what a message weighs."""
    told, layout = engine.describe(), engine.layout
    message = message_bytes({"adapter": np.zeros(layout.size, np.float32)}, layout)
    return {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "hardware": {"cpu": cpu_name(), "cores": os.cpu_count(), **told["hardware"]},
        "precision": told["precision"],
        "data": {"fingerprint": samples.fingerprint, "samples": samples.originals, "dropped": dict(samples.dropped)},
        "communication": {**told["communication"], "message_bytes": message},
        "model": {"name": experiment.model.name, **told["model"], **_origin(experiment)},
        "attention": told["attention"],
    }


def _origin(experiment: Experiment) -> dict[str, Any]:
    """Where a base from a GGUF file comes from, and under which licence."""
    found = origin_of(experiment.model.name)
    return {} if found is None else {"origin": found}
