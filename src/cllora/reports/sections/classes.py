"""Which texts the final global model learned: the loss class by class."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import MUTED, ZERO_LINE, chart, keys, looks


@figures.register()
def classes(runs: Runs) -> Figure:
    """The final global model on the global test set, class by class. First the loss itself: classes differ in how hard
    they are to predict, whoever trains. Then the loss minus the untrained base's: what training did for each class; at
    zero, nothing. Means over seeds."""
    final, first = runs.final("classes"), runs.frame("classes").query("round == 0")
    by = ["cell", "seed", "class"]
    changes = final.merge(first[[*by, "loss"]].rename(columns={"loss": "base"}), on=by, how="left")
    changes = changes.assign(change=changes["loss"] - changes["base"])
    if changes.empty:
        return Figure("Loss by class of text", "The partition names no classes, so there is no loss by class.")
    names = runs.class_names
    loss, change = (
        chart(f"{runs.feature}, in classes", f"{what} ({words.NATS})", 340) for what in ("loss", "change of loss")
    )
    means = changes.groupby(["cell", "class"], sort=False, as_index=False)[["loss", "base", "change"]].mean()
    base = means.groupby("class", as_index=False)["base"].mean()
    untrained = {"color": MUTED, "dash": "dot", "symbol": "line-ew-open"}
    loss.add_trace(_points([names[c] for c in base["class"]], base["base"], "untrained base", untrained))
    for cell, look in looks(runs.cells, runs.controls).items():
        rows = means[means["cell"] == cell]
        at = [names[c] for c in rows["class"]]
        loss.add_trace(_points(at, rows["loss"], cell, look))
        change.add_trace(_points(at, rows["change"], cell, look))
    change.add_hline(y=0, line=ZERO_LINE)
    words_of = "; ".join(
        f"{cell}: "
        + ", ".join(f"{names[c]} {words.number(x)}" for c, x in zip(rows["class"], rows["change"], strict=True))
        for cell, rows in means.groupby("cell", sort=False)
    )
    return Figure(
        title="Loss by class of text",
        conclusion=_class_effect(runs, changes, names),
        plots=(
            Plot(loss, "Final loss for each class of text and cell, with the untrained base.", "Loss"),
            Plot(change, f"Change of the loss against the base for each class. {words_of}.", "Change against the base"),
        ),
        legend=keys({**looks(runs.cells, runs.controls), "untrained base": untrained}),
        table=changes.drop(columns="round").assign(**{"class": [names[c] for c in changes["class"]]}),
        notes=runs.classed,
    )


def _points(x: list[str], y: "pd.Series[float]", name: str, look: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y.tolist(),
        name=name,
        mode="lines+markers",
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        marker={"symbol": look["symbol"], "size": 8},
        hovertemplate=f"{name}, %{{x}}: %{{y:.3f}}<extra></extra>",
    )


def _class_effect(runs: Runs, changes: pd.DataFrame, names: list[str]) -> str:
    """The largest contrast over cells and classes together; without a control the classes of one cell."""
    if not runs.controls or len(runs.cells) == len(runs.controls):
        cell = [*runs.controls, *runs.cells][0]
        means = changes[changes["cell"] == cell].groupby("class")["change"].mean()
        low, high = means.index[int(means.argmin())], means.index[int(means.argmax())]
        return (
            f"The change of loss by training ran from {words.signed(means[low])} (class {names[low]}) to "
            f"{words.signed(means[high])} {words.NATS} (class {names[high]}) at {cell}."
        )
    parts: list[pd.DataFrame] = []
    for c, name in enumerate(names):
        of_class = changes[changes["class"] == c]
        parts.append(runs.contrasts("change", runs.to_compare(of_class)).assign(of=name))
    found = pd.concat([part for part in parts if len(part)], ignore_index=True)
    row = words.largest(found)
    of = "" if row is None else f" of {runs.feature} {row['of']}"
    return words.difference(found, f"the change of loss against the base{of}")
