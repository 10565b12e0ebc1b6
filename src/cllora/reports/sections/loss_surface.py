"""Whether averaging two clients' adapters lands in a valley or on a ridge."""

import math

import pandas as pd

from cllora.analysis import Results
from cllora.metrics.formats import number
from cllora.reports.facts import effect
from cllora.reports.section import Heatmap, Section, sections
from cllora.reports.tables import groups

PROBE = "loss_surface"
MOST_CELLS = 8
X, Y, Z = "distance along the first client's update", "distance across it", "loss − average's"


@sections.register(title="The loss around the last average", after="attention", probe=PROBE)
def loss_surface(results: Results) -> Section:
    """Loss on a few texts of the global test set over the plane through three adapters of the last round: the one that
    was sent, and two clients' own after their local training. Minus the loss at the clients' average; below zero is
    better than the average. Axes are distances between adapters. One seed of each cell. The barrier is how far the
    loss rises above the straight line from one client's loss to the other's on the way between them (0: none)."""
    surface = results.probe(PROBE)
    first = surface[surface["seed"] == surface.groupby("cell")["seed"].transform("first")]
    first = first.assign(picture=first["cell"] + ", seed " + first["seed"].astype(str))
    level = first[first["name"] == "average"].set_index("picture")["loss"]
    grid = first[first["kind"] == "grid"]
    grid = grid.assign(**{X: grid["x"], Y: grid["y"], Z: grid["loss"] - grid["picture"].map(level).fillna(0)})
    points = pd.concat(_marked(rows) for rows in groups(first[first["kind"] == "point"], "picture").values())
    return Section(
        facts=(effect(results, "barrier"),),
        figures=(Heatmap(grid, X, Y, Z, contours=True, points=points, facet="picture", most=MOST_CELLS),),
        table=_losses(results, surface[surface["kind"] == "point"]),
    )


def _losses(results: Results, points: pd.DataFrame) -> pd.DataFrame:
    """Losses at the marked adapters, and what averaging gained: the clients' mean loss minus the average's."""
    losses = points.pivot(index=["cell", "seed"], columns="name", values="loss")
    clients = losses.filter(like="client ").mean(axis=1)
    gain = clients - losses["average"]
    losses = losses[["sent", "average", "global"]].assign(clients_mean=clients, gain_of_averaging=gain)
    return results.metrics[["cell", "seed", "barrier"]].merge(losses.reset_index(), on=["cell", "seed"])


def _marked(points: pd.DataFrame) -> pd.DataFrame:
    """The adapters to be marked; the global one only where it lies elsewhere than the average."""
    places = points.set_index("name")
    place, average = (places.loc[name, ["x", "y", "off"]].to_numpy(float) for name in ("global", "average"))
    same = math.dist(place, average) <= 1e-4 * math.hypot(*place[:2])  # but for rounding
    texts = [
        f"loss {number(loss, 4)}, {off:.2g} off the plane"
        for loss, off in zip(points["loss"], points["off"], strict=True)
    ]
    return points.assign(text=texts)[~(same & (points["name"] == "global"))]
