"""Whether averaging two clients' adapters lands in a valley or on a ridge."""

import math

import pandas as pd

from cllora.analysis import Results, Run
from cllora.metrics.formats import number
from cllora.reports.facts import NotMeasured, effect
from cllora.reports.section import Heatmap, Section, sections
from cllora.reports.tables import groups

TITLE = "The loss around the last average"
PROBE = "loss_surface"
MOST_CELLS = 8
X, Y, Z = "distance along the first client's update", "distance across it", "loss − average's"


@sections.register(after="attention")
def landscape(results: Results) -> Section:
    """Loss on a few texts of the global test set over the plane through three adapters of the last round: the one that
    was sent, and two clients' own after their local training. Minus the loss at the clients' average; below zero is
    better than the average. Axes are distances between adapters. One seed of each cell. The barrier is how far the
    loss rises above the straight line from one client's loss to the other's on the way between them (0: none)."""
    if PROBE not in results.probes:
        return Section(TITLE, (NotMeasured("loss around the last average", asked=False),))
    surface = results.probe(PROBE)
    first = surface[surface["seed"] == surface.groupby("cell")["seed"].transform("first")]
    first = first.assign(picture=first["cell"] + ", seed " + first["seed"].astype(str))
    level = first[first["name"] == "average"].set_index("picture")["loss"]
    grid = first[first["kind"] == "grid"]
    grid = grid.assign(**{X: grid["x"], Y: grid["y"], Z: grid["loss"] - grid["picture"].map(level).fillna(0)})
    points = pd.concat(_marked(rows) for rows in groups(first[first["kind"] == "point"], "picture").values())
    return Section(
        title=TITLE,
        facts=(effect(results, "barrier"),),
        figures=(Heatmap(grid, X, Y, Z, contours=True, points=points, facet="picture", most=MOST_CELLS),),
        table=results.stacked((run, pd.DataFrame([_numbers(run, of_run)])) for run, of_run in results.measured(PROBE)),
    )


def _numbers(run: Run, surface: pd.DataFrame) -> dict[str, float]:
    """Losses at the marked adapters, and what averaging gained: the clients' mean loss minus the average's."""
    losses = surface[surface["kind"] == "point"].set_index("name")["loss"]
    mean = float(losses[losses.index.str.startswith("client ")].mean())
    at = {name: float(losses[name]) for name in ("sent", "average", "global")}
    gain = mean - at["average"]
    return {"barrier": run.outcome["barrier"], **at, "clients_mean": mean, "gain_of_averaging": gain}


def _marked(points: pd.DataFrame) -> pd.DataFrame:
    """The adapters to be marked; the global one only where it lies elsewhere than the average."""
    places = points.set_index("name")
    one, other = (places.loc[name, ["x", "y", "off"]].to_numpy(float) for name in ("global", "average"))
    same = math.dist(one, other) <= 1e-4 * math.hypot(*one[:2])  # but for rounding
    texts = [
        f"loss {number(loss, 4)}, {off:.2g} off the plane"
        for loss, off in zip(points["loss"], points["off"], strict=True)
    ]
    return points.assign(text=texts)[~(same & (points["name"] == "global"))]
