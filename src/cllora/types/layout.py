"""Adapters as flat vectors, the matrices inside them, and models made of them."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cllora.types.arrays import Array

Vector = NDArray[np.float32]
"""An adapter: everything trainable, flat, float32, in the order of its `Layout`."""

Arrays = Mapping[str, NDArray[Any]]  # Any: numbers of any kind
"""Named arrays of any dtype: a server's state, a client's memory, or what crosses the network."""

Mask = NDArray[np.bool_]
"""The mask of the parameters that are meant (P,)."""

Kind = TypeVar("Kind", bound=np.generic)

FACTOR = re.compile(r"(?P<matrix>.*?)\.?lora_(?:embedding_)?(?P<factor>[AB])(?:\.weight)?")
"""The names of LoRA's factors in PEFT, under the name of the matrix that they adapt."""


@dataclass(frozen=True)
class Matrix:
    """One adapted matrix W (m, n) inside a vector: LoRA adds scale * B A, with A (r, n) and B (m, r).

    `a` and `b` are where the numbers of A and B lie. On an embedding, W is its transpose.
    """

    name: str
    a: slice
    b: slice
    rank: int
    rows: int
    columns: int
    scale: float

    def factors(self, vector: Vector) -> tuple[Vector, Vector]:
        """A (r, n) and B (m, r), as views of a vector (P,)."""
        return vector[self.a].reshape(self.rank, self.columns), vector[self.b].reshape(self.rows, self.rank)


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors inside an adapter vector, in order.

    `scales` has LoRA's scale (alpha / r) by the names of the adapted matrices; where there is none it is 1.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of parameters in the vector."""
        return int(sum(np.prod(shape) for shape in self.shapes))

    def split(self, vector: NDArray[Kind]) -> dict[str, NDArray[Kind]]:
        """The tensors by name, as views of `vector` (size,)."""
        return {name: vector[place].reshape(shape) for name, place, shape in self._places}

    def join(self, tensors: Mapping[str, NDArray[np.float32]]) -> Vector:
        """The inverse of `split`."""
        return np.concatenate([np.asarray(tensors[name], np.float32).ravel() for name in self.names])

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """The adapted matrices, in the vector's order."""
        factors: dict[str, dict[str, tuple[slice, tuple[int, ...]]]] = {}
        for name, place, shape in self._places:
            if match := FACTOR.fullmatch(name):
                factors.setdefault(match["matrix"], {})[match["factor"]] = place, shape
        matrices = []
        for name, pair in factors.items():
            (a, (rank, columns)), (b, (rows, _)) = pair["A"], pair["B"]
            matrices.append(Matrix(name, a, b, rank, rows, columns, self.scales.get(name, 1.0)))
        return tuple(matrices)

    def part(self, factor: str) -> Mask:
        """The mask of all A, of all B, or of the parts trained beside LoRA: `A`, `B` or `rest`."""
        if factor == "rest":
            return ~(self.part("A") | self.part("B"))
        mask = np.zeros(self.size, bool)
        for matrix in self.matrices:
            mask[{"A": matrix.a, "B": matrix.b}[factor]] = True
        return mask

    def first_ranks(self, count: int) -> Mask:
        """The first `count` rows of every A and columns of every B, and all that is trained beside LoRA."""
        mask = self.part("rest")
        for matrix in self.matrices:
            mask[matrix.a].reshape(matrix.rank, -1)[:count] = True
            mask[matrix.b].reshape(-1, matrix.rank)[:, :count] = True
        return mask

    def delta(self, vector: Vector) -> dict[str, Array]:
        """The adapter's update of each matrix, scale * B A (m, n), by the matrix's name."""
        deltas = {}
        for matrix in self.matrices:
            a, b = matrix.factors(vector)
            deltas[matrix.name] = matrix.scale * (b.astype(np.float64) @ a.astype(np.float64))
        return deltas

    @cached_property
    def _places(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        """Each tensor's name, where it lies in the vector, and its shape."""
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        places = [slice(int(start), int(stop)) for start, stop in itertools.pairwise(ends)]
        return list(zip(self.names, places, self.shapes, strict=True))


@dataclass(frozen=True)
class Model:
    """A model: an adapter (P,), and the frozen matrices under it, added to the base's own weights, and not trained.

    `frozen` has for any matrix of the layout, under its name, what is added (m, n); or, under `NAME.A` (R, n) and
    `NAME.B` (m, R), two factors of any rank whose product B A is added as it is, without LoRA's scale.
    """

    adapter: Vector
    frozen: Arrays = field(default_factory=dict)


def model_of(model: Model | Vector) -> Model:
    """A bare adapter is a model with nothing frozen under it."""
    return model if isinstance(model, Model) else Model(model)


def same_frozen(a: Arrays, b: Arrays) -> bool:
    """Whether two models have the same frozen under them, so that they can meet in a pass."""
    if a is b:
        return True
    return a.keys() == b.keys() and all(a[key] is b[key] or np.array_equal(a[key], b[key]) for key in a)
