"""Devices: where arrays are, and how they get there."""

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.model.precision import automatic
from cllora.spec import ModelSpec


def settle(model: ModelSpec) -> list[str]:
    """The device and the precision, `auto` decided by the machine.

    Raises:
        UsageError: a GPU is asked for and there is none.
    """
    device = model.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("model.device is cuda, but torch sees no GPU; set model.device to cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return [device, automatic(torch.device(device)) if model.precision == "auto" else model.precision]


def on_device(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """An array as a tensor there; a GPU is not waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
