"""The fingerprint of a base: of all its weights, and of all in its config that decides what they compute."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from cllora.model.libraries import Config

NO_MATTER = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "use_cache")
"""Entries of a config that change no loss: how it was made and where it lay. Nested configs have them too."""


def fingerprint_of(config: Config, tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Twelve hex digits of a config and of every number of some named tensors.

    Args:
        config: the config as it stands beside the weights, before positions are stretched.
    """
    digest = hashlib.sha256(json.dumps(_plain(config.to_diff_dict()), sort_keys=True, default=str).encode())
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # XXH3 reads as fast as memory does; it has to notice a change, not to withstand an enemy.
        numbers = tensor.detach().contiguous().flatten().view(torch.uint8).cpu().numpy()
        digest.update(xxhash.xxh3_128_digest(numbers.data))
    return digest.hexdigest()[:12]


def fingerprint_of_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Twelve hex digits of every number of some named arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype}".encode())
        digest.update(xxhash.xxh3_128_digest(np.ascontiguousarray(arrays[name]).data))
    return digest.hexdigest()[:12]


def computed_by(device: torch.device) -> str:
    """The identity of what decides a loss's last digits beside base and text: the program, its libraries, the
    hardware."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"{_versions()} on {kind}"


@cache
def _versions() -> str:
    names = ("cllora", "torch", "transformers", "peft")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _plain(config: object) -> object:
    if isinstance(config, dict):
        return {str(key): _plain(value) for key, value in config.items() if key not in NO_MATTER}
    return [_plain(value) for value in config] if isinstance(config, list | tuple) else config
