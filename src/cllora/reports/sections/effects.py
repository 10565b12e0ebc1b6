"""Every outcome of every cell against the control, in one picture with its doubt."""

import pandas as pd

from cllora.metrics import metrics
from cllora.reports import labels, words
from cllora.reports.figure import Figure, figures
from cllora.reports.forest import ANSWERS, forest, judged, keys
from cllora.reports.runs import Runs

NUMBERS = ("difference", "low", "high", "low_holm", "high_holm", "seeds", "margin")
DECIDED = ("p_holm", "p_equivalent_holm", "needed", "answer")


@figures.register()
def effects(runs: Runs) -> Figure:
    """Every cell minus its control, paired by seed, one picture an outcome, each on its own scale; left of zero is
    lower than the control. Thick: the 95 % interval of the comparison by itself; thin: the interval at the level at
    which Holm's procedure decides among the cells of that outcome, which leaves out zero just where the answer is that
    it differs. The grey band is the margin: an effect that is shown to lie within it is called equivalent to none."""
    compared = {metric: judged(runs, metric.name) for metric in metrics.shown_in("forest")}
    known = {metric: rows for metric, rows in compared.items() if len(rows)}
    if not known:
        return Figure("Effects against the control", "No cell can be compared with a control, so no effect is known.")
    table = pd.concat(list(known.values()), ignore_index=True)
    table = table[["metric", "cell", "control", *NUMBERS, *DECIDED, "shows"]]
    return Figure(
        title="Effects against the control",
        conclusion=_conclusion(table),
        plots=tuple(forest(runs, rows, metric.title, metric.unit.name) for metric, rows in known.items()),
        legend=keys(table),
        table=table,
        shown=pd.DataFrame([_row(runs, row) for _, row in table.iterrows()]),
        notes=_notes(runs, table),
    )


def _row(runs: Runs, row: pd.Series) -> dict[str, str]:
    doubt = "–" if row["seeds"] < 2 else f"{words.signed(row['low'])} to {words.signed(row['high'])}"
    return {
        "outcome": metrics.metric(row["metric"]).title,
        "cell": row["cell"],
        "difference": words.signed(row["difference"]),
        "95 % interval by itself": doubt,
        "seeds": f"{row['seeds']:.0f}",
        "margin": words.number(row["margin"], 2),
        "p, Holm": words.number(row["p_holm"]),
        "p equivalent, Holm": words.number(row["p_equivalent_holm"]),
        "answer": row["answer"],
    }


def _conclusion(table: pd.DataFrame) -> str:
    counts = table["shows"].value_counts()
    differ, same, open_ = (int(counts.get(verdict, 0)) for verdict in ANSWERS)
    of = f"Of {words.count(len(table), 'comparison')} in {words.count(table['metric'].nunique(), 'outcome')}"
    verbs = [
        f"{differ} {'differs' if differ == 1 else 'differ'}",
        f"{same} {'is' if same == 1 else 'are'} shown to be equivalent to none",
        f"for {open_} there are not enough seeds to tell",
    ]
    return f"{of}, {words.listed(verbs)}."


def _notes(runs: Runs, table: pd.DataFrame) -> tuple[str, ...]:
    most = int(table["seeds"].max())
    few = "One seed: points without intervals, and nothing can be told." if most < 2 else ""
    two = "Two seeds: t intervals are that wide because two seeds hardly know their own spread." if most == 2 else ""
    each = (
        "Comparisons of one outcome are corrected for being several; outcomes are not: each is a question of its own."
    )
    censored = "A run that never reached its control's final loss counts its last round."
    reached = censored if "rounds_to_control" in set(table["metric"]) else ""
    return tuple(note for note in (few, two, each, reached, *labels.leak_note(runs.leaking)) if note)
