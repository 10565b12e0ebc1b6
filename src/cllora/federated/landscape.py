"""The loss around the last average: does averaging two clients' adapters land in a valley or on a ridge?

Over the plane through three adapters (Garipov et al. 2018, arXiv 1802.10026; Izmailov et al. 2018, arXiv 1803.05407):
the one that clients were sent and the own ones of the round's first two clients. Directions are trained, not random,
and so not rescaled by filter, as those of Li et al. (2018, arXiv 1712.09913) are. And along the line between the two
clients, where FedAvg's average of them lies (Frankle et al. 2020, arXiv 1912.05671).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cllora.types import Array, Vector

LossOf = Callable[[Vector], float]

LINE = 11
"""Points on the line between two clients, both ends and the middle among them."""
MARGIN = 0.25
"""What the square shows beyond the outermost points, on every side, as a share of the distance between them."""
PARALLEL = 1e-6
"""A second update of which less than this share is off the first's direction has the same direction."""


@dataclass(frozen=True)
class Plane:
    """w(x, y) = origin + x u + y v, with u and v of length one and orthogonal: distances are those of adapters.

    v is zero where the two updates have one direction, and u too where the first is zero.
    """

    origin: Array
    u: Array
    v: Array

    @classmethod
    def through(cls, origin: Vector, first: Vector, second: Vector) -> "Plane":
        """u along first - origin; v along what of second - origin is orthogonal to it (Gram-Schmidt)."""
        start = origin.astype(np.float64)
        d, e = first - start, second - start
        u = _unit(d, 0.0)
        return cls(start, u, _unit(e - (e @ u) * u, PARALLEL * float(np.linalg.norm(e))))

    def at(self, x: float, y: float) -> Vector:
        """The adapter at a point."""
        return np.asarray(self.origin + x * self.u + y * self.v, np.float32)

    def place(self, adapter: Vector) -> tuple[float, float, float]:
        """x and y of the nearest point of the plane, and how far the adapter is off it."""
        d = adapter - self.origin
        x, y = float(d @ self.u), float(d @ self.v)
        return x, y, float(np.linalg.norm(d - x * self.u - y * self.v))


def surface(points: Mapping[str, Vector], loss: LossOf, side: int) -> dict[str, Any]:
    """The loss at named adapters, over the plane through the first three, and along the line from the second to the
    third; JSON-able, a loss that is not finite is None.

    Keys: points, a list of {name, x, y, off, loss}, as `Plane.place` has them, the loss being the adapter's own, not
    that of its place; x and y (side,), and loss (side, side), a row per y, over a square about the points; line, with
    t from 0 to 1 and the loss at (1 - t) second + t third; and barrier, see `barrier`.
    """
    origin, first, second = list(points.values())[:3]
    plane = Plane.through(origin, first, second)
    marked: list[dict[str, Any]] = []
    for name, adapter in points.items():
        x, y, off = plane.place(adapter)
        marked.append({"name": name, "x": x, "y": y, "off": off, "loss": _number(loss(adapter))})
    xs, ys = _square([(point["x"], point["y"]) for point in marked], side)
    t = np.linspace(0, 1, LINE)
    along = [_number(loss(_between(first, second, each))) for each in t]
    return {
        "points": marked,
        "x": xs.tolist(),
        "y": ys.tolist(),
        "loss": [[_number(loss(plane.at(x, y))) for x in xs] for y in ys],
        "line": {"t": t.tolist(), "loss": along},
        "barrier": barrier(t, np.array(along, float)),
    }


def barrier(t: Array, losses: Array) -> float | None:
    """max over t of L(t) - ((1 - t) L(0) + t L(1)): how high the ridge between two adapters is, at least 0.

    The error barrier of linear mode connectivity (Frankle et al. 2020), with the line between both ends in place of
    their mean (Entezari et al. 2022, arXiv 2110.06296). None if a loss is not finite.

    Args:
        t, losses: (n,), t from 0 to 1.
    """
    return _number(float((losses - ((1 - t) * losses[0] + t * losses[-1])).max()))


def _between(first: Vector, second: Vector, t: float) -> Vector:
    return np.asarray((1 - t) * first.astype(np.float64) + t * second.astype(np.float64), np.float32)


def _square(points: list[tuple[float, float]], side: int) -> tuple[Array, Array]:
    """Coordinates of the points of a grid over a square with all of the points inside."""
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    half = (0.5 + MARGIN) * float((high - low).max())
    x, y = (low + high) / 2
    return np.linspace(x - half, x + half, side), np.linspace(y - half, y + half, side)


def _unit(vector: Array, least: float) -> Array:
    """The vector at length one; zero if it is no longer than `least`."""
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > least else np.zeros_like(vector)


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
