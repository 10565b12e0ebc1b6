"""The description of what a base runs on, for readers of a run's folder."""

from collections.abc import Mapping

import torch

from cllora.model.fingerprint import fingerprint_of_arrays
from cllora.model.load import Base
from cllora.model.parts import numbers_by_part
from cllora.model.patterns import Pattern
from cllora.types import AttentionRecord, BaseRecord, Environment, Hardware, Layout, MessageSizes


def description(base: Base, layout: Layout, patterns: Mapping[str, Pattern]) -> Environment:
    """Hardware, precision, sizes, the model and its patterns of attention, as `Engine.describe` gives them."""
    return Environment(
        hardware=Hardware(
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "cpu",
        ),
        precision=base.precision,
        communication=MessageSizes(
            trainable_parameters=layout.size,
            full_parameters=base.full_parameters,
            full_bytes=4 * base.full_parameters,
            parts={part: 4 * count for part, count in numbers_by_part(base.model, layout).items()},
        ),
        model=BaseRecord(
            type=base.model.config.model_type,
            fingerprint=base.fingerprint,
            lora_on=tuple(base.targets),
            start_fingerprint=None if base.start is None else fingerprint_of_arrays(base.start),
        ),
        attention={use: AttentionRecord(name=pattern.name, group=pattern.group) for use, pattern in patterns.items()},
    )
