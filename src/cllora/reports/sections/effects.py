"""Every metric of every cell against the control, in one picture with its doubt."""

import math

import pandas as pd

from cllora.analysis import Results, chance, typed, with_chance
from cllora.errors import counted
from cllora.metrics import metrics
from cllora.metrics.formats import capital, level
from cllora.reports import notes
from cllora.reports.columns import column
from cllora.reports.facts import Interval, NotMeasured, Statement, Tally
from cllora.reports.section import Forest, Section, sections
from cllora.spec import PRIMARY

NUMBERS = ("difference", "low", "high", "low_holm", "high_holm", "seeds", "margin")
MEANS = ("mean_difference", "mean_low", "mean_high", "above", "least", "most")
KINDS = {
    "differs": "that differ",
    "equivalent": "shown to be equivalent to none",
    "undecided": "with not enough seeds to tell",
}
DECIDED = ("p_holm", "p_equivalent_holm", "needed", "needed_most", "answer", "shows")


@sections.register(title="Effects against the control", after="global_loss")
def effects(results: Results) -> Section | NotMeasured:
    """Every cell minus its control, paired by seed, one picture an outcome, each on its own scale; left of zero is
    lower than the control. Thick: the interval of the comparison by itself; thin: the interval at the level at which
    Holm's procedure decides among the cells of that outcome, which leaves out zero just where the answer is that it
    differs. The grey band is the margin, for losses a share of what training gained in the control: an effect that is
    shown to lie within it is called equivalent to none. Dashed, where controls were drawn again: what one seed alone
    shows by chance."""
    parts = [results.contrasts(metric.name).dropna(subset=["difference"]) for metric in metrics.shown_in("forest")]
    parts = [rows for rows in parts if len(rows)]
    if not parts:
        return NotMeasured("effects", "No cell can be compared with a control")
    rows = pd.concat(parts, ignore_index=True)
    kinds = {text: int((rows["shows"] == shows).sum()) for shows, text in KINDS.items()}
    among = f" in {rows['metric'].nunique()} outcomes"
    titles = [capital(column(metric).title) for metric in rows["metric"]]
    return Section(
        facts=(Tally(len(rows), "comparison", kinds, among), *_by_chance(results)),
        figures=(Forest(with_chance(results, rows.assign(title=titles)), facet="title"),),
        table=_table(rows),
        file=rows[["metric", "cell", "control", *NUMBERS, *MEANS, *DECIDED]],
        notes=_notes(results, rows),
    )


def _by_chance(results: Results) -> tuple[Statement, ...]:
    """The differences between controls that differ in nothing but what is drawn."""
    made, metric = chance(results, PRIMARY), column(PRIMARY)
    if made is None or math.isnan(made.of_one_seed):
        return ()
    size, seeds = metric.with_unit(made.of_one_seed), counted(len(made.by_seed), "pair")
    ends = f"{metric.signed(made.difference)} [{metric.signed(made.low)}, {metric.signed(made.high)}]"
    typical = f"typically they differ by {ends}"
    check = typical if made.is_none else f"yet {typical}, which 5 in 100 studies show by chance"
    text = (
        f"Two controls of a seed that differ in nothing but what is drawn are up to {size} apart in the {metric.title} "
        f"in 95 of 100 seeds ({seeds}; {check}): one seed alone shows such differences where there are none."
    )
    return (Statement(text, {"of one seed": made.of_one_seed, "typical": made.difference}),)


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    doubted = zip(*(rows[name] for name in ("difference", "low", "high")), strict=True)
    at = level(rows["level"].iloc[0])
    return pd.DataFrame(
        {
            "outcome": [column(metric).heading for metric in rows["metric"]],
            "cell": rows["cell"],
            f"difference, {at} interval by itself": [Interval(*numbers) for numbers in doubted],
            **{name: rows[name] for name in ("seeds", "margin", "p_holm", "p_equivalent_holm", "answer")},
        }
    )


def _notes(results: Results, rows: pd.DataFrame) -> tuple[str, ...]:
    most, few = int(rows["seeds"].max()), sum(row.carried_by_few for row in typed(rows))
    return (
        "One seed: points without intervals, and nothing can be told." if most < 2 else "",
        "Two seeds: intervals are that wide because two seeds hardly know their own spread." if most == 2 else "",
        "Comparisons of one outcome are corrected for being several; outcomes are not: each is a question of its own.",
        "A run that never reached its control's final loss counts its last round."
        if (rows["metric"] == "rounds_to_control").any()
        else "",
        f"In {few} of {counted(len(rows), 'comparison')} few seeds carry the mean, which the typical difference and "
        "its interval do not follow; the file has both."
        if few
        else "",
        notes.leaks(results),
    )
