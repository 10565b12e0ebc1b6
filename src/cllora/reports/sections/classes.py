"""The section on classes of texts: the loss of the final global model class by class."""

import pandas as pd

from cllora.analysis import Results
from cllora.reports.facts import Fact, NotMeasured, Range, compared, compares
from cllora.reports.section import BASE, Lines, Section, sections
from cllora.reports.tables import groups, means


@sections.register(title="Loss by class of text", after="fairness")
def classes(results: Results) -> Section | NotMeasured:
    """The final global model on the global test set, class by class. First the loss itself: classes differ in how hard
    they are to predict, whoever trains. Then the loss minus the untrained base's: what training did for each class; at
    zero, nothing. Means over seeds."""
    final, first = results.final("classes"), results.frame("classes").query("round == 0")
    by = ["cell", "seed", "class"]
    rows = final.merge(first[[*by, "loss"]].rename(columns={"loss": "base"}), on=by, how="left")
    rows = rows.assign(loss_change=rows["loss"] - rows["base"]).drop(columns="round")
    if rows.empty:
        return NotMeasured("loss by class", "The partition names no classes")
    x = f"{results.feature}, in classes"
    rows[x] = [results.class_names[c] for c in rows["class"]]
    drawn = rows.groupby(["cell", "class", x], as_index=False)[["loss", "base", "loss_change"]].mean()
    base = drawn.groupby(["class", x], as_index=False)[["base"]].mean().rename(columns={"base": "loss"})
    return Section(
        facts=(_fact(results, rows, x),),
        figures=(
            Lines(pd.concat([base.assign(cell=BASE), drawn]), x, "loss", units=(), title="Loss"),
            Lines(drawn, x, "loss_change", units=(), zero=True, title="Change against the base"),
        ),
        table=rows.assign(**{"class": rows[x]}).drop(columns=x),
        notes=results.classed,
    )


def _fact(results: Results, rows: pd.DataFrame, x: str) -> Fact:
    """The largest contrast over cells and classes together; without a control the classes of one cell."""
    if not compares(results):
        cell = [*results.controls, *results.cells][0]
        changes = means(rows[rows["cell"] == cell], "loss_change", x)
        return Range("loss_change", {f"texts of {results.feature} {name} at {cell}": v for name, v in changes.items()})
    parts = {name: results.contrasts("loss_change", results.to_compare(own)) for name, own in groups(rows, x).items()}
    named = [f"texts of {results.feature} {name}" for name, table in parts.items() for _ in range(len(table))]
    return compared("loss_change", pd.concat(parts.values(), ignore_index=True), named)
