"""The loss around the last average: does averaging two clients' adapters land in a valley or on a ridge?

Over the plane through three adapters (Garipov et al. 2018, arXiv 1802.10026; Izmailov et al. 2018, arXiv 1803.05407):
the one that clients were sent and the own ones of the round's first two clients. Directions are trained, not random,
and so not rescaled by filter, as those of Li et al. (2018, arXiv 1712.09913) are. And along the line between the two
clients, where FedAvg's average of them lies (Frankle et al. 2020, arXiv 1912.05671).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import PositiveInt

from cllora.errors import UsageError
from cllora.model.engine import Evaluator
from cllora.probes.probe import Moment, probes
from cllora.spec import SURFACE_SIDE
from cllora.types import Array, Model, Participant, Vector, same_frozen

LossOf = Callable[[Vector], float]

LINE = 11
"""Points on the line between two clients, both ends and the middle among them."""
MARGIN = 0.25
"""The margin of the square beyond the outermost points, on every side, as a share of the distance between them."""
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


def barrier(table: pd.DataFrame) -> dict[str, float]:
    """The largest `rise` on the line between two clients' adapters; NaN if one is not finite.

    The error barrier of linear mode connectivity (Frankle et al. 2020), with the line between both ends in place of
    their mean (Entezari et al. 2022, arXiv 2110.06296).
    """
    return {"barrier": float(table.loc[table["kind"] == "line", "rise"].max(skipna=False))}


@probes.register(when="end", title="loss around the last average", summary=barrier)
def loss_surface(model: Evaluator, moment: Moment, *, side: PositiveInt = SURFACE_SIDE) -> pd.DataFrame:
    """The loss over the plane through the adapter that was sent and two clients' own, at `side` points a side, and
    along the line between these two.

    Columns as `surface` has them, and texts, how many the losses are of. The adapters that are marked are `sent` (that
    which the first client started from), `client K` for all clients of the round, `average` (of these, weighted by
    their samples), and `global`. Whatever is frozen under the clients' adapters is so under all of the plane;
    `global` is where its adapter is, with the loss of its own model.

    Raises:
        UsageError: the clients' adapters have different matrices frozen under them.
    """
    parts, frozen = moment.participants, moment.participants[0].local.frozen
    if not all(same_frozen(part.local.frozen, frozen) for part in parts):
        raise UsageError("the probe loss_surface: the clients' adapters lie on different frozen matrices; leave it out")

    def loss(adapter: Vector) -> float:
        whole = moment.model if adapter is moment.model.adapter else Model(adapter, frozen)
        block = model.evaluate("surface", whole, moment.texts)
        return float(block.nll.sum() / block.tokens.sum())

    clients = {f"client {part.update.client}": part.local.adapter for part in parts}
    points = {"sent": parts[0].start.adapter, **clients, "average": average(parts)}
    return surface({**points, "global": moment.model.adapter}, loss, side).assign(texts=len(moment.texts))


def average(participants: Sequence[Participant]) -> Vector:
    """sum_k p_k w_k over the clients' own adapters, p_k their share of samples; in float64, rounded to float32."""
    samples = np.array([part.update.samples for part in participants], np.float64)
    total = np.zeros(participants[0].local.adapter.shape)
    for share, part in zip(samples / samples.sum(), participants, strict=True):
        total += share * part.local.adapter.astype(np.float64)
    return total.astype(np.float32)


def surface(points: Mapping[str, Vector], loss: LossOf, side: int) -> pd.DataFrame:
    """The loss at named adapters, over the plane through the first three, and on the line from the second to the third.

    Columns, NaN (or an empty name) where they say nothing; a loss that is not finite is NaN:
        kind: `point`, a named adapter; `grid`, a point of a square in the plane about the named ones; or `line`.
        name: of the adapter.
        x, y: in the plane; of a named adapter the nearest point, `off` which it is by so much.
        t: on the line, of (1 - t) second + t third.
        loss: of a named adapter its own, not that of its place.
        rise: on the line, of the loss above the straight line between its ends: L(t) - ((1 - t) L(0) + t L(1)).
    """
    origin, first, second = list(points.values())[:3]
    plane = Plane.through(origin, first, second)
    places = [plane.place(adapter) for adapter in points.values()]
    named = pd.DataFrame(places, columns=["x", "y", "off"]).assign(kind="point", name=list(points))
    named["loss"] = [loss(adapter) for adapter in points.values()]
    xs, ys = _square([(x, y) for x, y, _ in places], side)
    grid = pd.DataFrame({"kind": "grid", "x": np.tile(xs, side), "y": np.repeat(ys, side)})
    t = np.linspace(0, 1, LINE)
    along = finite([loss(_between(first, second, share)) for share in t])
    grid["loss"] = [loss(plane.at(x, y)) for y in ys for x in xs]
    line = pd.DataFrame({"kind": "line", "t": t, "loss": along, "rise": rise(t, along)})
    table = pd.concat([named, grid, line], ignore_index=True)
    table = table.assign(name=table["name"].fillna(""), loss=finite(table["loss"].to_numpy()))
    return table[["kind", "name", "x", "y", "off", "t", "loss", "rise"]]


def rise(t: Array, losses: Array) -> Array:
    """L(t) - ((1 - t) L(0) + t L(1)), (n,). Its largest is the barrier, at least 0, as both ends have a rise of 0."""
    return np.asarray(losses - ((1 - t) * losses[0] + t * losses[-1]))


def finite(losses: Sequence[float] | Array) -> Array:
    """The values (n,), NaN in place of those that are not finite."""
    values = np.asarray(losses, np.float64)
    return np.where(np.isfinite(values), values, np.nan)


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
