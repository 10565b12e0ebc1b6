"""The environment of a run, recorded for readers of its folder."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from cllora.model.engine import Engine
from cllora.model.machine import cpu_name
from cllora.model.source import origin_of
from cllora.spec import Experiment
from cllora.store import message_bytes
from cllora.types import DataRecord, Environment, Origin, Samples, from_plain

PACKAGES = ("cllora", "torch", "transformers", "peft", "tokenizers", "datasets", "numpy")


def environment(experiment: Experiment, samples: Samples, engine: Engine) -> Environment:
    """The environment of an engine: versions, processor, the data's fingerprint, and the bytes of a message."""
    engine_told, layout = engine.describe(), engine.layout
    message = message_bytes({"adapter": np.zeros(layout.size, np.float32)}, layout)
    origin = origin_of(experiment.model.name)
    return replace(
        engine_told,
        versions={"python": platform.python_version(), **_versions()},
        hardware=replace(engine_told.hardware, cpu=cpu_name(), cores=os.cpu_count()),
        data=DataRecord(fingerprint=samples.fingerprint, samples=samples.originals, dropped=samples.dropped),
        communication=replace(engine_told.communication, message_bytes=message),
        model=replace(
            engine_told.model,
            name=experiment.model.name,
            origin=None if origin is None else from_plain(Origin, origin, experiment.model.name),
        ),
    )


@cache
def _versions() -> Mapping[str, str]:
    """Looked up once a process: a package's metadata is read and parsed whole for it."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
