"""Whether a model uses a long text: its perplexity by how much of the text came before, and what that cost."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cllora.analysis import control_values
from cllora.metrics.positions import PROBE, last_loss_under, loss_under
from cllora.reports import labels, words
from cllora.reports.figure import Figure, Key, Plot, figures
from cllora.reports.runs import Run, Runs
from cllora.reports.style import MUTED, chart, keys, looks
from cllora.spec import axis_text

TITLE = "Long context"
BASE = Key("the base, before training", MUTED, "dot")
LOSS = "position_loss"


@figures.register()
def long_context(runs: Runs) -> Figure:
    """Perplexity of the final global model on the global test set, by a token's position: each token is scored once,
    given all of its text before it, under full attention whatever the pattern of training; mean over seeds of the
    loss. The base is stretched to the same context, and not trained. In the table, last bin: the tokens with the most
    text before them."""
    kept = [run for run, _ in runs.measured(PROBE)]
    if not kept:
        return Figure(TITLE, "Perplexity by position was not measured.", measured=False)
    known = runs.to_compare(runs.stacked((run, _numbers(run)) for run in kept))
    seconds = control_values(known, list(runs.axes), runs.control, "training_seconds")
    known = known.assign(time_ratio=known["training_seconds"] / seconds)
    comparable = known[~known["cell"].isin(runs.leaking)]
    against = runs.contrasts(LOSS, comparable)
    bins = _bins(runs, kept)
    shown = pd.DataFrame([_row(runs, cell, known, against) for cell in known["cell"].unique()])
    lines = looks(list(dict.fromkeys(bins["line"])), list(dict.fromkeys(bins.loc[bins["control"], "line"])))
    return Figure(
        title=TITLE,
        conclusion=words.effect(runs, LOSS, "the loss over all positions", outcomes=comparable),
        plots=tuple(_plot(name, bins[bins["picture"] == name], lines, bins) for name in bins["picture"].unique()),
        legend=(*keys(lines), BASE),
        table=known.drop(columns=["progress", "fingerprint"]),
        shown=shown if (against["seeds"] > 1).any() else shown.drop(columns="answer"),
        folded=False,
        notes=_notes(runs, kept, comparable),
    )


def _numbers(run: Run) -> pd.DataFrame:
    """One row: losses by position under full attention, of the model and as base_* of the base; as own_* under the
    run's pattern of training; bits_per_byte, training_seconds, peak_mb and message_bytes."""
    bins, own = run.probes[PROBE], run.experiment.model.attention.name
    row = {
        LOSS: loss_under(bins, "full"),
        "last_position_loss": last_loss_under(bins, "full"),
        "bits_per_byte": run.outcome["bits_per_byte"],
        "base_position_loss": loss_under(bins, "full", "before"),
        "base_last_position_loss": last_loss_under(bins, "full", "before"),
        "own_position_loss": loss_under(bins, own),
        "own_last_position_loss": last_loss_under(bins, own),
        **{name: run.outcome[name] for name in ("training_seconds", "peak_mb", "message_bytes")},
    }
    return pd.DataFrame([row], dtype=float)


def _bins(runs: Runs, kept: Sequence[Run]) -> pd.DataFrame:
    """Perplexity under full attention by bin, of the mean loss over seeds: picture, line, base, when, start, stop, and
    whether it is of a control.

    Where attention and something else are varied there is a picture for each pattern of training, and its lines are of
    the rest.
    """
    axis = runs.axis("model.attention")
    parts = []
    for run in kept:
        cell = runs.cell(run.labels)
        picture, line = "", runs.named(cell)
        if axis and len(runs.axes) > 1:
            leak = f" ({labels.LEAKS})" if cell in runs.leaking else ""
            picture = f"trained under {run.labels[axis]}{leak}"
            line = ", ".join(f"{name} = {run.labels[name]}" for name in runs.axes if name != axis)
        rows = run.probes[PROBE].query("pattern == 'full'")
        parts.append(rows.assign(picture=picture, line=line, control=cell in runs.controls, base=run.base))
    keep = ["picture", "line", "base", "when", "start", "stop"]
    means = pd.concat(parts).groupby(keep, sort=False, as_index=False).agg({"loss": "mean", "control": "any"})
    return means.assign(perplexity=np.exp(means["loss"]))


def _plot(name: str, rows: pd.DataFrame, lines: dict[str, dict[str, Any]], every: pd.DataFrame) -> Plot:
    figure = chart("tokens of the text before it", "perplexity", height=360)
    before, after = (rows[rows["when"] == when] for when in ("before", "after"))
    bases = [each.drop_duplicates(["start", "stop"]) for _, each in before.groupby("base", sort=False)]
    drawn = [(BASE.name, {"color": MUTED, "dash": BASE.dash}, base) for base in bases]
    drawn += [(line, lines[line], after[after["line"] == line]) for line in after["line"].unique()]
    for line, look, each in drawn:
        figure.add_trace(
            go.Scatter(
                # A bin is drawn in its middle on the logarithmic axis; the first counts as the half below its end.
                x=np.sqrt(np.maximum(each["start"], each["stop"] / 2) * each["stop"]).tolist(),
                y=each["perplexity"].tolist(),
                customdata=each[["start", "stop"]].to_numpy().tolist(),
                name=line,
                mode="lines+markers",
                line={"color": look["color"], "dash": look["dash"], "width": 2},
                marker={"size": 5},
                hovertemplate="positions %{customdata[0]:,} to %{customdata[1]:,}: %{y:.2f}<extra>" + line + "</extra>",
            )
        )
    low, high = (math.log10(end) for end in (every["perplexity"].min(), every["perplexity"].max()))
    edges = [int(stop) for stop in sorted(set(rows["stop"]), reverse=True)]
    span, marked = [math.log10(edges[-1] / 2), math.log10(edges[0] * 1.4)], edges[::2]
    figure.update_xaxes(type="log", range=span, tickvals=marked, ticktext=[f"{edge:,}" for edge in marked])
    figure.update_yaxes(type="log", range=[low - 0.02, high + 0.02], nticks=8, tickformat="~r")
    return Plot(figure, _alt(name, after, bases[0]), name)


def _alt(name: str, after: pd.DataFrame, base: pd.DataFrame) -> str:
    ends = [(line, each["perplexity"].iloc[0], each["perplexity"].iloc[-1]) for line, each in after.groupby("line")]
    said = "; ".join(f"{line} from {words.number(a, 2)} to {words.number(b, 2)}" for line, a, b in ends)
    first, last = (words.number(base["perplexity"].iloc[at], 2) for at in (0, -1))
    where = f", {name}" if name else ""
    return f"Perplexity from the first positions to the last{where}: {said}; the base from {first} to {last}."


def _row(runs: Runs, cell: str, known: pd.DataFrame, against: pd.DataFrame) -> dict[str, str]:
    """A cell's means over seeds as text: perplexities are of mean losses, ratios of pairs with the control."""
    run = runs.first[cell]
    mean = known[known["cell"] == cell].mean(numeric_only=True)
    held = {
        "trained": ("lora.train", run.experiment.lora.train),
        "attention": ("model.attention", axis_text(run.experiment.model.attention.model_dump())),
    }
    against = against[against["cell"] == cell]
    grouped = run.experiment.model.attention.name != "full"
    return {
        "cell": runs.named(cell),
        **{what: value for what, (path, value) in held.items() if path not in runs.axes.values()},
        "perplexity (last bin)": _perplexities(mean, ""),
        "the base (last bin)": _perplexities(mean, "base_"),
        "under its own pattern (last bin)": _perplexities(mean, "own_") if grouped else "–",
        "bits per byte": words.number(mean["bits_per_byte"]),
        "loss against control": "control" if cell in runs.controls else _doubted(against),
        "answer": next(iter(against["answer"]), "–"),
        "training seconds": words.number(mean["training_seconds"], 1),
        "of the control's": words.number(mean["time_ratio"], 2),
        "peak MB": words.number(mean["peak_mb"], 0),
        "MB a message": words.megabytes(mean["message_bytes"]),
    }


def _perplexities(mean: "pd.Series[float]", of: str) -> str:
    return f"{_perplexity(mean[f'{of}{LOSS}'])} ({_perplexity(mean[f'{of}last_position_loss'])})"


def _perplexity(loss: float) -> str:
    return words.number(math.exp(loss), 2)


def _doubted(against: pd.DataFrame) -> str:
    """A difference with the interval that holds among all comparisons, where there is one."""
    if against.empty:
        return "–"
    return words.with_interval(*against.iloc[0][["difference", "low_holm", "high_holm"]])


def _notes(runs: Runs, kept: Sequence[Run], known: pd.DataFrame) -> tuple[str, ...]:
    own = "Under its own pattern a model sees less of a text: compare with the same cell under full attention alone."
    memory = "Peak memory is of the whole process while clients train."
    said = [
        *labels.leak_note(runs.leaking),
        own if any(run.experiment.model.attention.name != "full" for run in kept) else "",
        memory if known["peak_mb"].notna().any() else "",
    ]
    return tuple(note for note in said if note)
