"""Whether a model uses a long text: its perplexity by how much of the text came before, and what that cost."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from cllora.analysis import Results, Run
from cllora.analysis.names import LEAKS
from cllora.metrics.positions import PROBE
from cllora.reports import notes
from cllora.reports.columns import column
from cllora.reports.facts import Interval, effect
from cllora.reports.section import BASE, Lines, Section, sections
from cllora.spec import axis_text

LOSS = "position_loss"
X = "tokens of the text before it"
COSTS = ("training_seconds", "time_ratio", "peak_mb", "message_bytes")
LOSSES = ("position_loss", "last_position_loss")
NUMBERS = (*LOSSES, "bits_per_byte", *(f"{kind}_{loss}" for kind in ("base", "own") for loss in LOSSES), *COSTS)
"""The metrics of a run that the file has."""


@sections.register(title="Long context", after="loss_surface", probe=PROBE)
def long_context(results: Results) -> Section:
    """Perplexity of the final global model on the global test set, by a token's position: each token is scored once,
    given all of its text before it, under full attention whatever the pattern of training; mean over seeds of the
    loss. The base is stretched to the same context, and not trained. In the table, last bin: the tokens with the most
    text before them."""
    measured = results.measured(PROBE)
    runs = pd.DataFrame([(results.cell(run.labels), run.seed) for run, _ in measured], columns=["cell", "seed"])
    rows = results.metrics.merge(runs, on=["cell", "seed"])
    against = results.contrasts(LOSS)
    bins = _bins(results, measured)
    table = pd.DataFrame([_row(results, cell, rows, against) for cell in rows["cell"].unique()])
    edges = sorted(set(bins["stop"]), reverse=True)[::2]
    controls = tuple(dict.fromkeys(bins.loc[bins["control"], "line"]))
    lines = Lines(bins, X, "perplexity", "line", (), log=True, text="bin", facet="picture")
    return Section(
        facts=(effect(results, LOSS),),
        figures=(replace(lines, references=controls, ticks=tuple(edges)),),
        table=table if (against["seeds"] > 1).any() else table.drop(columns="answer"),
        file=rows[["cell", *results.axes, "seed", *NUMBERS]],
        folded=False,
        notes=_notes(results, rows),
    )


def _bins(results: Results, measured: list[tuple[Run, pd.DataFrame]]) -> pd.DataFrame:
    """Perplexity under full attention by bin, of the mean loss over seeds: picture, line, start, stop, and whether it
    is of a control.

    Where attention and something else are varied there is a picture for each pattern of training, and its lines are of
    the rest.
    """
    axis = results.axis("model.attention")
    parts = []
    for run, of_run in measured:
        cell = results.cell(run.labels)
        picture, line = "", results.named(cell)
        if axis and len(results.axes) > 1:
            leak = f" ({LEAKS})" if cell in results.leaking else ""
            picture = f"trained under {run.labels[axis]}{leak}"
            line = ", ".join(f"{name} = {run.labels[name]}" for name in results.axes if name != axis)
        rows = of_run[of_run["pattern"] == "full"]
        lines = np.where(rows["when"] == "after", line, BASE)
        parts.append(rows.assign(picture=picture, line=lines, control=cell in results.controls, base=run.base))
    rows = pd.concat(parts)
    rows["base"] = rows["base"].where(rows["line"] == BASE, "")
    keep = ["picture", "line", "base", "start", "stop"]
    means = rows.groupby(keep, sort=False, as_index=False).agg({"loss": "mean", "control": "any"})
    means["control"] &= means["line"] != BASE
    # A bin is drawn in its middle on the logarithmic axis; the first counts as the half below its end.
    middle = np.sqrt(np.maximum(means["start"], means["stop"] / 2) * means["stop"])
    names = [f"positions {a:,} to {b:,}" for a, b in zip(means["start"], means["stop"], strict=True)]
    return means.assign(perplexity=np.exp(means["loss"]), bin=names, **{X: middle})


def _row(results: Results, cell: str, rows: pd.DataFrame, against: pd.DataFrame) -> dict[str, object]:
    """A cell's means over seeds: perplexities are of mean losses, ratios of pairs with the control."""
    asked = results.first[cell].experiment
    trained_under = asked.model.attention.name
    mean = rows[rows["cell"] == cell].mean(numeric_only=True)
    held = {
        "trained": ("lora.train", asked.lora.train),
        "attention": ("model.attention", axis_text(asked.model.attention.model_dump())),
    }
    compared = against[against["cell"] == cell]
    doubted = [Interval(*row) for row in compared[["difference", "low_holm", "high_holm"]].to_numpy()]
    return {
        "cell": results.named(cell),
        **{name: value for name, (path, value) in held.items() if path not in results.axes.values()},
        "perplexity (last bin)": _perplexities(mean, ""),
        "the base (last bin)": _perplexities(mean, "base_"),
        "under its own pattern (last bin)": "–" if trained_under == "full" else _perplexities(mean, "own_"),
        "bits_per_byte": mean["bits_per_byte"],
        "loss against control": "control" if cell in results.controls else next(iter(doubted), "–"),
        "answer": next(iter(compared["answer"]), "–"),
        **{cost: mean[cost] for cost in COSTS},
    }


def _perplexities(mean: "pd.Series[float]", kind: str) -> str:
    """The perplexity over all positions, and in brackets that of the last bin."""
    whole, last = (column("perplexity").show(math.exp(mean[f"{kind}{loss}"])) for loss in LOSSES)
    return f"{whole} ({last})"


def _notes(results: Results, rows: pd.DataFrame) -> tuple[str, ...]:
    own = "Under its own pattern a model sees less of a text: compare with the same cell under full attention alone."
    memory = "Peak memory is of the whole process while clients train."
    grouped = any(results.first[cell].experiment.model.attention.name != "full" for cell in set(rows["cell"]))
    return (notes.leaks(results), own if grouped else "", memory if rows["peak_mb"].notna().any() else "")
