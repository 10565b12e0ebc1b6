"""What crossed the network."""

from collections.abc import Callable, Mapping

import pandas as pd
import plotly.graph_objects as go

from cllora.reports import words
from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import GRID, INK, MUTED, SERIES, chart, rows_of_cells

COLUMNS = {
    "bytes_up": "up (MB)",
    "bytes_down": "down (MB)",
    "per_round": "per round (MB)",
    "bytes_full": "full model as often (MB)",
    "saved": "saved",
}

PARTS = {
    "lora": "LoRA",
    "norms": "norms",
    "embeddings": "embeddings",
    "positions": "learned positions",
    "other": "all other weights",
}

SAVES = 0.005
"""The share of the full model's bytes from which on anything counts as saved."""
SENT = Key("adapters, as sent", SERIES[0], symbol="circle")
FULL = Key("full model, had it been sent", MUTED, symbol="diamond")


@figures.register()
def communication(runs: Runs) -> Figure:
    """Megabytes (10^6 bytes) that all clients sent and received over a run, as serialised messages, beside what the
    full model's parameters in float32 would have been, sent just as often. The scale is logarithmic: every line is ten
    times the one before. Where more than LoRA is trained, also what one adapter weighs by part, on a plain scale."""
    costs = runs.averaged.groupby("cell", sort=False)[
        ["bytes_up", "bytes_down", "bytes_full", "saved", "rounds"]
    ].mean()
    costs = costs.assign(total=costs["bytes_up"] + costs["bytes_down"])
    costs = costs.assign(per_round=costs["total"] / costs["rounds"].clip(lower=1))
    parts = _parts(runs).reindex(costs.index)
    table = costs[list(COLUMNS)].join(parts.add_suffix("_per_message")).reset_index()
    readable = {key: words.percent if key == "saved" else words.megabytes for key in COLUMNS}
    of_parts = {f"{part}_per_message": f"a message: {PARTS[part]} (MB)" for part in map(str, parts)}
    readable |= dict.fromkeys(of_parts, words.megabytes)
    shown = table.assign(**{key: table[key].map(text) for key, text in readable.items()})
    shown = shown.rename(columns={**COLUMNS, **of_parts})
    if costs["total"].sum() == 0:
        return Figure("Communication", "Nothing crossed the network yet.", table=table, shown=shown)
    return Figure(
        title="Communication",
        conclusion=_conclusion(costs) + _trade(parts),
        plots=(_against_full(runs, costs), *([_by_part(runs, parts)] if len(parts.columns) else [])),
        legend=(SENT, FULL, *(Key(PARTS[part], colour) for part, colour in _colours(parts).items())),
        table=table,
        shown=shown,
    )


def _against_full(runs: Runs, costs: pd.DataFrame) -> Plot:
    figure = chart("megabytes per run, up and down", runs.axis_title)
    cells = [str(cell) for cell in costs.index]
    adapters, full = (costs[column].to_numpy() / 1e6 for column in ("total", "bytes_full"))
    for cell, a, f in zip(cells, adapters, full, strict=True):
        line = {"color": GRID, "width": 4}
        figure.add_trace(go.Scatter(x=[a, f], y=[cell, cell], mode="lines", line=line, hoverinfo="skip"))
    for key, values in ((SENT, adapters), (FULL, full)):
        figure.add_trace(
            go.Scatter(
                x=values.tolist(),
                y=cells,
                name=key.name,
                mode="markers",
                marker={"color": key.colour, "symbol": key.symbol, "size": 13},
                hovertemplate="%{y}: %{x:,.3s} MB<extra>" + key.name + "</extra>",
            )
        )
    rows_of_cells(figure, cells, [runs.short(cell) for cell in cells])
    figure.update_xaxes(type="log", showgrid=True, dtick=1, color=INK, tickformat=",~r", exponentformat="none")
    totals = ", ".join(f"{words.megabytes(total)} MB at {cell}" for cell, total in costs["total"].items())
    return Plot(figure, f"Dots on a logarithmic scale. Sent and received: {totals}.")


def _conclusion(costs: pd.DataFrame) -> str:
    """What a run cost; from the cell that sent the least to the one that sent the most where they differ."""
    ends = costs.sort_values("total", kind="stable").iloc[[0, -1]]

    def span(column: str, as_text: Callable[[float], str]) -> str:
        return " to ".join(dict.fromkeys(map(as_text, ends[column])))

    sent = f"A run sent and received {span('total', words.megabytes)} MB"
    if costs["bytes_full"].isna().any():
        return f"{sent}; the full model's size was not recorded, so nothing can be said of what that saves."
    full = f"the full model's {span('bytes_full', words.megabytes)} MB for as many messages"
    if (ends["saved"] < SAVES).all():
        return f"{sent}; {full} would have been no more."
    return f"{sent}, {span('saved', words.percent)} less than {full}."


def _parts(runs: Runs) -> pd.DataFrame:
    """Bytes of one adapter by part, a row per cell, with the parts that any has; none where all is LoRA."""
    found = {
        runs.cell(run.labels): run.environment.communication.parts
        for run in runs.members
        if run.environment.communication.parts is not None
    }
    parts = pd.DataFrame.from_dict(found, orient="index", columns=list(PARTS)).astype(float)
    beside = parts.drop(columns="lora").to_numpy().sum() > 0
    return parts.loc[:, (parts > 0).any()] if beside else pd.DataFrame(index=parts.index)


def _colours(parts: pd.DataFrame) -> dict[str, str]:
    return dict(zip(parts.columns, SERIES[1:], strict=False))


def _by_part(runs: Runs, parts: pd.DataFrame) -> Plot:
    figure = chart("megabytes of one adapter", runs.axis_title, barmode="stack")
    cells = [str(cell) for cell in parts.index]
    for part, colour in _colours(parts).items():
        figure.add_trace(
            go.Bar(
                x=(parts[part] / 1e6).tolist(),
                y=cells,
                orientation="h",
                name=PARTS[part],
                marker={"color": colour},
                hovertemplate="%{y}: %{x:,.3s} MB<extra>" + PARTS[part] + "</extra>",
            )
        )
    rows_of_cells(figure, cells, [runs.short(cell) for cell in cells])
    rows = zip(cells, parts.to_dict("records"), strict=True)
    weights = [f"{cell}: {_weights({str(part): w for part, w in row.items()})}" for cell, row in rows]
    alt = f"Stacked bars of the megabytes of one adapter by part. {'; '.join(weights)}."
    return Plot(figure, alt, "One adapter, by part")


def _weights(row: Mapping[str, float]) -> str:
    return ", ".join(f"{PARTS[part]} {words.megabytes(weight)}" for part, weight in row.items() if weight > 0)


def _trade(parts: pd.DataFrame) -> str:
    """What is sent beside LoRA, where it is: the largest part against LoRA's."""
    if "lora" not in parts:
        return ""
    beside = parts[parts["lora"] > 0].drop(columns="lora").max()
    if not (beside > 0).any():
        return ""
    part = str(beside.idxmax())
    lora = parts.loc[parts[part] > 0, "lora"].max()
    return (
        f" Beside LoRA's {words.megabytes(lora)} MB a message, {PARTS[part]} weigh {words.megabytes(beside[part])} MB."
    )
