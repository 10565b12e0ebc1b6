"""Files with the frozen matrices under an adapter, for other programs: as more ranks of LoRA, or merged into the
base."""

import json
import math
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from cllora.model.frozen import Factors, parts_of
from cllora.model.libraries import Adapted, Entries
from cllora.types import Arrays, Layout, Matrix


def stack_frozen(folder: Path, layout: Layout, frozen: Arrays) -> None:
    """Rewrite an adapter in PEFT's format with its frozen matrices in it: LoRA of a higher rank.

    A becomes [A; A_f] and B [B, B_f / s], s being LoRA's scale, which stays what it is. A dense matrix is factored by
    its singular values, all of those that are not nothing but rounding.
    """
    if not frozen:
        return
    file, config_file = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = safetensors.numpy.load_file(file)
    config = json.loads(config_file.read_text(encoding="utf-8"))
    for matrix in layout.matrices:
        more = _factors(frozen, matrix)
        if more is None:
            continue
        names = [f"{matrix.name}.lora_{factor}.weight" for factor in "AB"]
        a = np.concatenate([tensors[names[0]], more[0]])
        b = np.concatenate([tensors[names[1]], more[1] / np.float32(matrix.scale)], axis=1)
        tensors |= {names[0]: a, names[1]: np.ascontiguousarray(b)}
        _set_rank(config, matrix, len(a))
    safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})
    config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def merge_frozen(model: Adapted, layout: Layout, frozen: Arrays) -> None:
    """Add the frozen matrices to the base's own weights in a PEFT model, in place."""
    modules = dict(model.named_modules())
    for matrix in layout.matrices:
        dense, factors = parts_of(frozen, matrix)
        parts = ([] if dense is None else [dense]) + ([] if factors is None else [factors[1] @ factors[0]])
        for part in parts:
            layer = modules[matrix.name]
            added = torch.from_numpy(part).to(layer.base_layer.weight)
            layer.base_layer.weight += added.t() if layer.fan_in_fan_out else added


def _factors(frozen: Arrays, matrix: Matrix) -> Factors | None:
    """All that is frozen under a matrix as two factors A (R, n) and B (m, R); None if nothing is."""
    dense, factors = parts_of(frozen, matrix)
    pairs = ([] if dense is None else [_factored(dense)]) + ([] if factors is None else [factors])
    if not pairs:
        return None
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs], axis=1)


def _factored(dense: NDArray[np.float32]) -> Factors:
    """A matrix (m, n) as B A, by its singular values."""
    u, values, v = np.linalg.svd(dense.astype(np.float64), full_matrices=False)
    rank = int((values > values.max(initial=0) * max(dense.shape) * np.finfo(np.float32).eps).sum())
    root = np.sqrt(values[:rank])
    return (root[:, None] * v[:rank]).astype(np.float32), (u[:, :rank] * root).astype(np.float32)


def _set_rank(config: Entries, matrix: Matrix, rank: int) -> None:
    """Let a module have another rank at the same scale."""
    path = matrix.name.removeprefix("base_model.model.")
    alpha = matrix.scale * (math.sqrt(rank) if config.get("use_rslora") else rank)
    config["rank_pattern"] = {**(config.get("rank_pattern") or {}), path: rank}
    config["alpha_pattern"] = {**(config.get("alpha_pattern") or {}), path: alpha}
