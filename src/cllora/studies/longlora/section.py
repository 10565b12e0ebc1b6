"""The section of the report on LongLoRA: does it come as far as full fine-tuning, and what do its parts bring?"""

import math
from typing import Any

import pandas as pd

from cllora.analysis import contrasts, control_values
from cllora.reports import Figure, Runs, figures, words
from cllora.studies.longlora.claims import LOSS, WITH_BOTH, compares_recipe, is_recipe


@figures.register()
def longlora(runs: Runs) -> Figure:
    """Training under shifted sparse attention with LoRA, norms and embeddings (Chen et al. 2024, arXiv 2309.12307),
    against full fine-tuning under full attention, both evaluated under full attention."""
    sentences = [*_claim(runs), *_of_parts(runs)]
    conclusion = " ".join(sentences) or "LongLoRA was not compared with full fine-tuning."
    return Figure("LongLoRA against full fine-tuning", conclusion, measured=bool(sentences))


def _claim(runs: Runs) -> list[str]:
    """LongLoRA against full fine-tuning; nothing where the study does not compare these two."""
    if not compares_recipe(runs):
        return []
    against = runs.contrasts(LOSS).dropna(subset=["difference"])
    rows = against[[is_recipe(runs.first[cell]) for cell in against["cell"]]]
    if rows.empty:
        return []
    row = rows.iloc[0]
    table = runs.metrics.dropna(subset=[LOSS])
    seconds = control_values(table, list(runs.axes), runs.control, "training_seconds")
    means = table.assign(ratio=table["training_seconds"] / seconds).groupby("cell")[[LOSS, "ratio"]].mean()
    losses, ratio = (means.loc[row[name], LOSS] for name in ("cell", "control")), means.loc[row["cell"], "ratio"]
    perplexities = " against ".join(words.number(math.exp(loss), 2) for loss in losses)
    return [
        f"{_lead(row)}: perplexity {perplexities}, {words.signed(row['difference'])} {words.NATS} "
        f"({words.interval(row)}); {row['answer']}. Its training took {words.number(ratio, 2)} times as long."
    ]


def _lead(row: "pd.Series[Any]") -> str:
    if row["seeds"] < 2:
        return "One seed cannot tell whether LongLoRA comes as far as full fine-tuning"
    if row["equivalent"]:
        return "LongLoRA comes as far as full fine-tuning"
    if row["differs"]:
        return f"LongLoRA ends {'above' if row['difference'] > 0 else 'below'} full fine-tuning"
    return "Whether LongLoRA comes as far as full fine-tuning cannot be told yet"


def _of_parts(runs: Runs) -> list[str]:
    """What norms and embeddings bring beside LoRA, all else equal."""
    axis = runs.axis("lora.train")
    if axis is None or runs.averaged[LOSS].isna().all():
        return []
    comparable = runs.averaged[~runs.averaged["cell"].isin(runs.leaking)]
    rows = contrasts(comparable, list(runs.axes), {axis: "lora"}, LOSS).dropna(subset=["difference"])
    rows = rows[[set(value.split("+")) == WITH_BOTH for value in rows[axis]]]
    told = []
    for _, row in rows.iterrows():
        where = ", ".join(f"{name} = {row[name]}" for name in runs.axes if name != axis)
        doubt = f" ({words.signed(row['low'])} to {words.signed(row['high'])})" if row["seeds"] > 1 else ""
        told.append(f"{words.signed(row['difference'])}{doubt}{f' at {where}' if where else ''}")
    if not told:
        return []
    doubt = "95 % intervals, each by itself" if rows["seeds"].max() > 1 else "one seed: no interval"
    return [f"Norms and embeddings beside LoRA changed the loss by {words.listed(told)} {words.NATS} ({doubt})."]
