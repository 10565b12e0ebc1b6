"""Frozen matrices under an adapter, which are added to the base's weights where LoRA is.

The base's own weights stay as they are: in a narrow type, adding to them would round most of an addition away.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cllora.errors import UsageError
from cllora.types import Arrays, Layout, Matrix

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A (R, n) and B (m, R), of the product B A."""


class FrozenLayer:
    """The frozen addition to one layer's weight (m, n): a dense matrix, and a product B A of two factors; or
    nothing."""

    def __init__(self, matrix: Matrix, device: torch.device) -> None:
        self.matrix, self._device = matrix, device
        self._dense: torch.Tensor | None = None
        self._factors: tuple[torch.Tensor, torch.Tensor] | None = None

    def write(self, dense: NDArray[np.float32] | None, factors: Factors | None) -> None:
        """Take other parts, as `parts_of` has them."""
        self._dense = None if dense is None else self._tensor(dense)
        self._factors = None if factors is None else (self._tensor(factors[0]), self._tensor(factors[1]))

    def added(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """y (..., m) plus the frozen matrices' product with x (..., n)."""
        if self._dense is not None:
            y = y + F.linear(x, self._dense.to(x.dtype))
        if self._factors is not None:
            a, b = (factor.to(x.dtype) for factor in self._factors)
            y = y + F.linear(F.linear(x, a), b)
        return y

    def on(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight (m, n) with this added, in float32; the weight itself, where nothing is."""
        if self._dense is not None:
            weight = weight.float() + self._dense
        if self._factors is not None:
            a, b = self._factors
            weight = weight.float() + b @ a
        return weight

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)


class Frozen:
    """The frozen matrices under the adapters of a model, layer by layer. The same lie under all slots."""

    def __init__(self, layout: Layout) -> None:
        self._matrices = {matrix.name: matrix for matrix in layout.matrices}
        self._layers: dict[str, FrozenLayer] = {}
        self._written: Arrays = {}

    def layer(self, name: str, device: torch.device) -> FrozenLayer:
        """A linear layer with LoRA, under which something can be frozen from now on."""
        self._layers[name] = FrozenLayer(self._matrices[name], device)
        return self._layers[name]

    def write(self, frozen: Arrays) -> None:
        """Replace the frozen matrices by those of `Model.frozen`.

        Raises:
            UsageError: something is frozen where no linear layer has LoRA, or has not that layer's shape.
        """
        if frozen is self._written or not (frozen or self._written):
            return
        for key in frozen:
            if key not in self._layers and key.removesuffix(".A").removesuffix(".B") not in self._layers:
                where = "has LoRA, but is no linear layer" if key in self._matrices else "has no LoRA"
                raise UsageError(f"the strategy freezes something under '{key}', which {where}")
        parts = {name: parts_of(frozen, layer.matrix) for name, layer in self._layers.items()}
        for name, layer in self._layers.items():
            layer.write(*parts[name])
        self._written = frozen


def parts_of(frozen: Arrays, matrix: Matrix) -> tuple[NDArray[np.float32] | None, Factors | None]:
    """The parts of `Model.frozen` added to a matrix: dense (m, n), and factors A (R, n) and B (m, R); None for neither.

    Raises:
        UsageError: it has another shape.
    """
    dense, a, b = (frozen.get(matrix.name + suffix) for suffix in ("", ".A", ".B"))
    m, n = matrix.rows, matrix.columns
    if dense is not None and dense.shape != (m, n):
        raise UsageError(f"what is frozen under {matrix.name} has the shape {dense.shape}, not {(m, n)}")
    if a is None and b is None:
        return dense, None
    if a is None or b is None or a.shape != (b.shape[-1], n) or b.shape != (m, len(a)):
        shapes = " and ".join(str(None if factor is None else factor.shape) for factor in (a, b))
        raise UsageError(f"what is frozen under {matrix.name} has the factors {shapes}, not (R, {n}) and ({m}, R)")
    return dense, (a, b)
