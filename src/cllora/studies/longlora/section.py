"""The section of the report on LongLoRA: does it come as far as full fine-tuning, and what do its parts bring?"""

import math

from cllora.analysis import Contrast, Results, contrasts, typed
from cllora.metrics.formats import level, number, signed
from cllora.reports import Comparison, Fact, NotMeasured, Section, Statement, interval, sections
from cllora.studies.longlora.claims import LOSS, WITH_BOTH, compares_recipe, is_recipe

NATS = "nats per token"


@sections.register(title="LongLoRA against full fine-tuning", after="long_context")
def longlora(results: Results) -> Section | NotMeasured:
    """Training under shifted sparse attention with LoRA, norms and embeddings (Chen et al. 2024, arXiv 2309.12307),
    against full fine-tuning under full attention, both evaluated under full attention."""
    facts = (*_claim(results), *_of_parts(results))
    return Section(facts) if facts else NotMeasured("claim of LongLoRA", asked=False)


def _claim(results: Results) -> list[Fact]:
    """LongLoRA against full fine-tuning; nothing where the study does not compare these two."""
    if not compares_recipe(results):
        return []
    against = typed(results.contrasts(LOSS).dropna(subset=["difference"]))
    row = next((row for row in against if is_recipe(results.first[row.cell])), None)
    if row is None:
        return []
    table = results.metrics.dropna(subset=[LOSS])
    own, control = (table[table["cell"] == cell] for cell in (row.cell, row.control))
    perplexities = " against ".join(number(math.exp(rows[LOSS].mean()), 2) for rows in (own, control))
    ratio = float(own["time_ratio"].mean())
    text = (
        f"{_lead(row)}: perplexity {perplexities}, {signed(row.difference)} {NATS} ({interval(Comparison(row))}); "
        f"{row.answer}. Its training took {number(ratio, 2)} times as long."
    )
    return [Statement(text, {"difference": row.difference, "time_ratio": ratio})]


def _lead(row: Contrast) -> str:
    if row.seeds < 2:
        return "One seed cannot tell whether LongLoRA comes as far as full fine-tuning"
    if row.equivalent:
        return "LongLoRA comes as far as full fine-tuning"
    if row.differs:
        return f"LongLoRA ends {'above' if row.difference > 0 else 'below'} full fine-tuning"
    return "Whether LongLoRA comes as far as full fine-tuning cannot be told yet"


def _of_parts(results: Results) -> list[Fact]:
    """The effect of norms and embeddings beside LoRA, all else equal."""
    axis = results.axis("lora.train")
    if axis is None or results.averaged[LOSS].isna().all():
        return []
    comparable = results.averaged[~results.averaged["cell"].isin(results.leaking)]
    rows = contrasts(comparable, list(results.axes), {axis: "lora"}, LOSS, level=results.level).dropna(
        subset=["difference"]
    )
    rows = rows[[set(value.split("+")) == WITH_BOTH for value in rows[axis]]]
    changes, numbers = [], {}
    for _, row in rows.iterrows():
        where = ", ".join(f"{name} = {row[name]}" for name in results.axes if name != axis)
        doubt = f" ({signed(row['low'])} to {signed(row['high'])})" if row["seeds"] > 1 else ""
        changes.append(f"{signed(row['difference'])}{doubt}{f' at {where}' if where else ''}")
        numbers[where] = float(row["difference"])
    if not changes:
        return []
    doubt = f"{level(results.level)} intervals, each by itself" if rows["seeds"].max() > 1 else "one seed: no interval"
    listed = " and ".join(changes)
    return [Statement(f"Norms and embeddings beside LoRA changed the loss by {listed} {NATS} ({doubt}).", numbers)]
