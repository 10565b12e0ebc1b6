"""Whether a model uses a long text: its perplexity by how much of the text came before, and what that cost."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from cllora.analysis import Results, Run, control_values
from cllora.analysis.names import LEAKS
from cllora.metrics.positions import PROBE, last_loss_under, loss_under
from cllora.reports import notes
from cllora.reports.columns import column
from cllora.reports.facts import Interval, NotMeasured, effect
from cllora.reports.section import BASE, Lines, Section, sections
from cllora.spec import axis_text

TITLE = "Long context"
LOSS, LAST = "position_loss", "last_position_loss"
X = "tokens of the text before it"
COSTS = ("training_seconds", "time_ratio", "peak_mb", "message_bytes")


@sections.register(after="landscape")
def long_context(results: Results) -> Section:
    """Perplexity of the final global model on the global test set, by a token's position: each token is scored once,
    given all of its text before it, under full attention whatever the pattern of training; mean over seeds of the
    loss. The base is stretched to the same context, and not trained. In the table, last bin: the tokens with the most
    text before them."""
    measured = results.measured(PROBE)
    if not measured:
        return Section(TITLE, (NotMeasured("perplexity by position", asked=False),))
    rows = results.to_compare(results.stacked((run, _numbers(run, bins)) for run, bins in measured))
    seconds = control_values(rows, list(results.axes), results.control, "training_seconds")
    rows = rows.assign(time_ratio=rows["training_seconds"] / seconds)
    against = results.contrasts(LOSS)
    bins = _bins(results, measured)
    table = pd.DataFrame([_row(results, cell, rows, against) for cell in rows["cell"].unique()])
    edges = sorted(set(bins["stop"]), reverse=True)[::2]
    controls = tuple(dict.fromkeys(bins.loc[bins["control"], "line"]))
    lines = Lines(bins, X, "perplexity", "line", (), log=True, text="bin", facet="picture")
    lines = replace(lines, references=controls, ticks=tuple(edges))
    return Section(
        title=TITLE,
        facts=(effect(results, LOSS),),
        figures=(lines,),
        table=table if (against["seeds"] > 1).any() else table.drop(columns="answer"),
        file=rows.drop(columns=["progress", "fingerprint"]),
        folded=False,
        notes=_notes(results, rows),
    )


def _numbers(run: Run, bins: pd.DataFrame) -> pd.DataFrame:
    """One row: losses by position under full attention, of the model and as base_* of the base; as own_* under the
    run's pattern of training; bits_per_byte, training_seconds, peak_mb and message_bytes."""
    own = run.experiment.model.attention.name
    row = {"": ("full", "after"), "base_": ("full", "before"), "own_": (own, "after")}
    losses = {f"{kind}{LOSS}": loss_under(bins, *how) for kind, how in row.items()}
    lasts = {f"{kind}{LAST}": last_loss_under(bins, *how) for kind, how in row.items()}
    costs = {name: run.outcome[name] for name in ("bits_per_byte", "training_seconds", "peak_mb", "message_bytes")}
    return pd.DataFrame([{**losses, **lasts, **costs}], dtype=float)


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
    mean = rows[rows["cell"] == cell].mean(numeric_only=True)
    held = {
        "trained": ("lora.train", asked.lora.train),
        "attention": ("model.attention", axis_text(asked.model.attention.model_dump())),
    }
    compared = against[against["cell"] == cell]
    doubted = [Interval(*row) for row in compared[["difference", "low_holm", "high_holm"]].to_numpy()]
    return {
        "cell": results.named(cell),
        **{what: value for what, (path, value) in held.items() if path not in results.axes.values()},
        "perplexity (last bin)": _perplexities(mean, ""),
        "the base (last bin)": _perplexities(mean, "base_"),
        "under its own pattern (last bin)": "–"
        if asked.model.attention.name == "full"
        else _perplexities(mean, "own_"),
        "bits_per_byte": mean["bits_per_byte"],
        "loss against control": "control" if cell in results.controls else next(iter(doubted), "–"),
        "answer": next(iter(compared["answer"]), "–"),
        **{name: mean[name] for name in COSTS},
    }


def _perplexities(mean: "pd.Series[float]", kind: str) -> str:
    return f"{_perplexity(mean[f'{kind}{LOSS}'])} ({_perplexity(mean[f'{kind}{LAST}'])})"


def _perplexity(loss: float) -> str:
    return column("perplexity").show(math.exp(loss))


def _notes(results: Results, rows: pd.DataFrame) -> tuple[str, ...]:
    own = "Under its own pattern a model sees less of a text: compare with the same cell under full attention alone."
    memory = "Peak memory is of the whole process while clients train."
    grouped = any(results.first[cell].experiment.model.attention.name != "full" for cell in set(rows["cell"]))
    known = rows["peak_mb"].notna().any()
    return (*notes.leaks(results), *((own,) if grouped else ()), *((memory,) if known else ()))
