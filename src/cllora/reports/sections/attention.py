"""Whether training made attention heads look more widely or more narrowly, and which."""

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import chart

PROBE = "attention_entropy"
TITLE = "Attention by layer and head"
MOST_CELLS = 8
"""Cells that the page draws; the file has all."""


@figures.register()
def attention(runs: Runs) -> Figure:
    """Entropy of each attention head in the final global model minus that in the untrained base: as a share of the most
    that the visible tokens allow (1: all of them alike, 0: one token), mean over positions of a few texts of the global
    test set and over seeds. Above zero a head looks more widely than before."""
    if PROBE not in runs.probes:
        return Figure(TITLE, "The entropy of attention heads was not measured.", measured=False)
    table = runs.probe(PROBE)
    cells = list(dict.fromkeys(table["cell"]))
    means = table.groupby(["cell", "layer", "head"], sort=False, as_index=False)["change"].mean()
    most = float(means["change"].abs().max())
    plots = [_plot(cell, means[means["cell"] == cell], most) for cell in cells[:MOST_CELLS]]
    return Figure(
        title=TITLE,
        conclusion=_conclusion(runs, table),
        plots=tuple(plots),
        table=table,
        shown=pd.DataFrame([_row(cell, table[table["cell"] == cell]) for cell in cells]),
        notes=words.not_drawn(len(cells) - MOST_CELLS),
    )


def _plot(cell: str, means: pd.DataFrame, most: float) -> Plot:
    grid = means.pivot(index="layer", columns="head", values="change")
    figure = chart("head", "layer", height=max(240, 110 + 18 * len(grid)))
    figure.add_trace(
        go.Heatmap(
            x=grid.columns.tolist(),
            y=grid.index.tolist(),
            z=grid.to_numpy().tolist(),
            zmin=-most,
            zmax=most,
            colorscale="RdBu",
            colorbar={"title": {"text": "change", "side": "right"}, "thickness": 12, "tickformat": "+.2~g"},
            hovertemplate="layer %{y}, head %{x}: %{z:+.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(dtick=max(1, grid.shape[1] // 8))
    figure.update_yaxes(dtick=max(1, grid.shape[0] // 8), showgrid=False)
    row = means.iloc[int(means["change"].abs().argmax())]
    alt = (
        f"Heat map of the change of entropy by layer and head at {cell}; the largest, {words.signed(row['change'])}, "
        f"is in layer {row['layer']:.0f}, head {row['head']:.0f}."
    )
    return Plot(figure, alt, cell)


def _row(cell: str, rows: pd.DataFrame) -> dict[str, str]:
    heads = rows.groupby(["layer", "head"])["change"].mean()
    layer, head = heads.index[int(heads.abs().argmax())]
    return {
        "cell": cell,
        "seeds": str(rows["seed"].nunique()),
        "before": words.number(rows["before"].mean()),
        "after": words.number(rows["after"].mean()),
        "mean change": words.signed(rows["change"].mean()),
        "mean size of change": words.number(heads.abs().mean()),
        "changed most": f"layer {layer}, head {head}: {words.signed(heads.loc[(layer, head)])}",
    }


def _conclusion(runs: Runs, table: pd.DataFrame) -> str:
    """Against the control, if there is one: the mean over heads, which is one number per run."""
    changes = table.groupby(["cell", "seed"], as_index=False, sort=False)[["change"]].mean()
    changes = changes.rename(columns={"change": "entropy_change"})  # `change` is a metric, of losses
    if runs.controls and len(runs.cells) > len(runs.controls):
        subject = "the change of attention entropy by training, mean over heads,"
        return words.difference(runs.contrasts("entropy_change", runs.to_compare(changes)), subject, "of its maximum")
    means = changes.groupby("cell", sort=False)["entropy_change"].mean()
    said = words.listed([f"{words.signed(mean)} at {cell}" for cell, mean in means.items()])
    return f"Training changed attention entropy, mean over heads, by this share of its maximum: {said}."
