"""Whether a number hidden in a long text is found again."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import chart

TITLE = "Passkey retrieval"
MOST_CELLS = 5
"""Cells that the page draws; the file has all."""
BEFORE = "the base, before training"


@figures.register()
def passkey(runs: Runs) -> Figure:
    """A number is hidden in a text at some depth (0: the beginning, 1: the end), and asked for behind it. In each
    square how many were found of how many, over seeds: the greedy continuation is the number, digit for digit. The
    colour grades what counting does not: the mean loss on a token of the number, lower is better; to guess a digit
    costs ln 10 = 2.30 nats."""
    measured = runs.measured("passkey")
    if not measured:
        return Figure(TITLE, "Passkey retrieval was not measured.", measured=False)
    table = runs.stacked((run, of_run.assign(base=run.base)) for run, of_run in measured)
    cells = list(dict.fromkeys(table["cell"]))
    # Of a base there is one measurement a seed, whatever was trained on it.
    base = table.drop_duplicates(["base", "seed", "length", "depth"])
    most = float(table[["nats_before", "nats_after"]].to_numpy().max())
    drawn = [_plot(BEFORE, base, "before", most)]
    drawn += [_plot(runs.named(cell), table[table["cell"] == cell], "after", most) for cell in _drawn(runs, table)]
    return Figure(
        title=TITLE,
        conclusion=_conclusion(runs, table, base, cells),
        plots=tuple(drawn),
        table=table.drop(columns="base"),
        shown=pd.DataFrame([_row(runs.named(cell), table[table["cell"] == cell]) for cell in cells]),
        notes=words.not_drawn(len(cells) - MOST_CELLS),
    )


def _drawn(runs: Runs, table: pd.DataFrame) -> list[str]:
    """The control, and the cells that found the most or, of those, were nearest to it; in the study's order."""
    found = table.groupby("cell", sort=False).agg(found=("found_after", "sum"), nats=("nats_after", "mean"))
    ranked = found.sort_values(["found", "nats"], ascending=[False, True], kind="stable").index
    chosen = list(dict.fromkeys([*runs.controls, *ranked]))[:MOST_CELLS]
    return [cell for cell in found.index if cell in chosen]


def _plot(name: str, rows: pd.DataFrame, when: str, most: float) -> Plot:
    sums = rows.groupby(["length", "depth"]).agg(
        found=(f"found_{when}", "sum"), keys=("keys", "sum"), nats=(f"nats_{when}", "mean")
    )
    nats = sums["nats"].unstack("depth")
    counts = (sums["found"].astype(str) + "/" + sums["keys"].astype(str)).unstack("depth")
    figure = chart("depth in the text", "tokens of the text", height=max(240, 110 + 40 * len(nats)))
    figure.add_trace(
        go.Heatmap(
            x=[f"{depth:g}" for depth in nats.columns],
            y=[f"{length:,}" for length in nats.index],
            z=nats.to_numpy().tolist(),
            text=counts.to_numpy().tolist(),
            texttemplate="%{text}",
            zmin=0,
            zmax=most,
            colorscale="Viridis_r",
            colorbar={"title": {"text": "nats per key token", "side": "right", "font": {"size": 12}}, "thickness": 12},
            hovertemplate="%{y} tokens, depth %{x}: %{text} found, %{z:.3f} nats per key token<extra></extra>",
        )
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", showgrid=False)
    alt = f"Heat map by length and depth, {name}: {_found(rows, when)}; {_nats(rows, when)} nats per key token."
    return Plot(figure, alt, name)


def _row(name: str, rows: pd.DataFrame) -> dict[str, str]:
    longest = rows[rows["length"] == rows["length"].max()]
    return {
        "cell": name,
        "found before": _found(rows, "before"),
        "found": _found(rows, "after"),
        f"found at {int(longest['length'].iloc[0]):,} tokens": _found(longest, "after"),
        "nats per key token before": _nats(rows, "before"),
        "nats per key token": _nats(rows, "after"),
        "at the longest": _nats(longest, "after"),
    }


def _found(rows: pd.DataFrame, when: str) -> str:
    return f"{rows[f'found_{when}'].sum()} of {rows['keys'].sum()}"


def _nats(rows: pd.DataFrame, when: str) -> str:
    return words.number(rows[f"nats_{when}"].mean())


def _conclusion(runs: Runs, table: pd.DataFrame, base: pd.DataFrame, cells: Sequence[str]) -> str:
    """How much was found before and after; and that it was nothing, where it was nothing."""
    before, after = base["found_before"].sum(), table["found_after"].sum()
    graded = f"The mean loss on a key's token went from {_nats(base, 'before')} to {_nats(table, 'after')} nats."
    if before == after == 0:
        whose = "This model retrieves" if len(cells) == 1 else "These models retrieve"
        return f"{whose} no passkey at any length or depth, neither before training nor after. {graded}"
    share = table.groupby("cell", sort=False)[["found_after", "keys"]].sum()
    best = (share["found_after"] / share["keys"]).idxmax()
    most = f"most at {runs.named(str(best))}: {_found(table[table['cell'] == best], 'after')}"
    which = f", {most}" if len(cells) > 1 and after else ""
    return f"Found before training: {_found(base, 'before')}; after: {_found(table, 'after')}{which}. {graded}"
