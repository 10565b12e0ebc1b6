"""All of it in one table."""

import pandas as pd

from cllora.measure import together
from cllora.reports import labels, words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Runs

OUTCOMES = (
    "final_loss",
    "final_loss_per_sample",
    "change",
    "area",
    "rounds_to_control",
    "reached_control",
    "oscillation",
    "forgetting",
    "forgetting_worst",
    "forgetting_at_end",
    "local_loss",
    "local_change",
    "own_gap",
    "test_gap",
    "change_std",
    "change_worst_tenth",
    "ratio_jain",
    "bytes_up",
    "bytes_down",
    "saved",
    "seconds",
)
"""What the file of this table tells of every cell; the names are explained in `cllora.measure.outcomes` and
`cllora.measure.rounds_to_control`."""

AGAINST = ("difference", "low", "high", "boot_low", "boot_high", "size", "p", "p_equivalent", "margin")
TOGETHER = ("p_holm", "p_equivalent_holm", "needed", "answer")


@figures.register()
def results(runs: Runs) -> Figure:
    """Every cell in one row: means over its finished seeds (where none is finished, over all it has), with the standard
    deviation over seeds where there are several. Losses in nats per token. Worst tenth: the clients that training
    helped least. Jain's index of loss over base loss is 1 where all clients are helped in the same proportion."""
    return Figure(
        title="Results",
        conclusion=words.effect(runs, "change_worst_tenth", "the change of loss for the worst tenth of clients"),
        table=result_table(runs),
        shown=pd.DataFrame([result_row(runs, cell) for cell in runs.cells]),
        notes=_weak(runs),
    )


def result_table(runs: Runs) -> pd.DataFrame:
    """The results as numbers: a row per cell and outcome.

    mean and sd over `seeds` runs; difference to the control over `pairs` of runs with what
    `cllora.measure.contrasts` says of it by itself (95 % intervals), and what `together` says of it among all cells of
    that outcome. Missing where there is nothing to compare.
    """
    parts: list[pd.DataFrame] = []
    for outcome in OUTCOMES:
        values = runs.results.groupby("cell", sort=False)[outcome]
        found = pd.DataFrame({"mean": values.mean(), "sd": values.std(), "seeds": values.count(), "outcome": outcome})
        alone = runs.contrasts(outcome)
        against = alone[["cell", "control", *AGAINST]].assign(pairs=alone["seeds"])
        against = against.join(together(alone)[[*TOGETHER]])
        parts.append(found.merge(against, on="cell", how="left"))
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(pairs=table["pairs"].fillna(0).astype(int))
    return table[["cell", "outcome", "mean", "sd", "seeds", "control", "pairs", *AGAINST, *TOGETHER]]


def result_row(runs: Runs, cell: str) -> dict[str, str]:
    """One cell's results as text."""
    rows = runs.results[runs.results["cell"] == cell]
    return {
        "cell": cell,
        "finished seeds": finished_seeds(runs, cell),
        "rounds": words.listed([str(n) for n in sorted(rows["rounds"].unique())]),
        "final global loss": over_seeds(rows["final_loss"]),
        "change against base": words.signed(rows["change"].mean()),
        "difference to control": to_control(runs, cell),
        "answer": next(iter(together(runs.contrasts("final_loss")).query("cell == @cell")["answer"]), "–"),
        "local loss, own texts": over_seeds(rows["local_loss"]),
        "client spread": words.number(rows["change_std"].mean(), 4),
        "worst tenth": words.signed(rows["change_worst_tenth"].mean()),
        "Jain": words.number(rows["ratio_jain"].mean(), 5),
        "MB up + down": words.megabytes((rows["bytes_up"] + rows["bytes_down"]).mean()),
        "saved": words.percent(rows["saved"].mean()),
        "seconds": words.number(rows["seconds"].mean(), 0),
    }


def finished_seeds(runs: Runs, cell: str) -> str:
    """How many seeds of a cell are finished, and of how many in the study: `3`, or `1 of 3`."""
    whole = int((runs.outcomes.query("cell == @cell")["progress"] == "finished").sum())
    asked = len({*runs.seeds, *runs.asked_seeds})
    return str(whole) if whole == asked else f"{whole} of {asked}"


def over_seeds(values: "pd.Series[float]") -> str:
    """Mean and, for several seeds, the sample standard deviation: `3.142 ± 0.011`."""
    doubt = f" ± {words.number(values.std())}" if values.notna().sum() > 1 else ""
    return f"{words.number(values.mean())}{doubt}"


def to_control(runs: Runs, cell: str) -> str:
    """A cell's difference in final global loss to its control, with the interval if there is one."""
    if cell in runs.controls:
        return "control"
    found = runs.contrasts("final_loss").query("cell == @cell")
    if found.empty:
        return "–"
    return words.with_interval(*found.iloc[0][["difference", "low", "high"]])


def _weak(runs: Runs) -> tuple[str, ...]:
    """What the numbers cannot carry."""
    leaking = labels.leak_note(runs.leaking)
    if len(runs.seeds) == 1:
        return (*leaking, "One seed: no interval can be given, and no difference told from chance.")
    return (
        *leaking,
        "In brackets: 95 % t interval of the difference, paired by seed, for each comparison by itself "
        "(not adjusted for there being several); the answer is adjusted.",
    )
