"""Whether training made attention heads look more widely or more narrowly, and which."""

import pandas as pd

from cllora.analysis import Results
from cllora.metrics.formats import signed
from cllora.reports.facts import effect
from cllora.reports.section import Heatmap, Section, sections
from cllora.reports.tables import groups

PROBE = "attention_entropy"
MOST_CELLS = 8
CHANGE = "entropy_change"


@sections.register(title="Attention by layer and head", after="update_geometry", probe=PROBE)
def attention(results: Results) -> Section:
    """Entropy of each attention head in the final global model minus that in the untrained base: as a share of the most
    that the visible tokens allow (1: all of them alike, 0: one token), mean over positions of a few texts of the global
    test set and over seeds. Above zero a head looks more widely than before."""
    table = results.probe(PROBE).rename(columns={"change": CHANGE})  # `change` is a metric, of losses
    heads = table.groupby(["cell", "layer", "head"], sort=False, as_index=False)[[CHANGE]].mean()
    heads = heads.rename(columns={CHANGE: "change_of_entropy"})
    changes = table.groupby(["cell", "seed"], as_index=False, sort=False)[[CHANGE]].mean()
    spec = Heatmap(heads, "head", "layer", "change_of_entropy", facet="cell", centred=True, most=MOST_CELLS)
    return Section(
        facts=(effect(results, CHANGE, results.to_compare(changes)),),
        figures=(spec,),
        table=pd.DataFrame([_row(cell, rows) for cell, rows in groups(table).items()]),
        file=table.rename(columns={CHANGE: "change"}),
    )


def _row(cell: str, rows: pd.DataFrame) -> dict[str, object]:
    heads = rows.groupby(["layer", "head"])[CHANGE].mean()
    layer, head = heads.index[int(heads.abs().argmax())]
    return {
        "cell": cell,
        "seeds": rows["seed"].nunique(),
        **{when: rows[when].mean() for when in ("before", "after")},
        "mean change": signed(rows[CHANGE].mean()),
        "mean size of change": heads.abs().mean(),
        "changed most": f"layer {layer}, head {head}: {signed(heads.loc[(layer, head)])}",
    }
