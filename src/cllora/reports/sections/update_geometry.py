"""Why skew does what it does: do clients with other texts pull another way, and what does averaging lose?"""

import pandas as pd

from cllora.analysis import Results
from cllora.metrics.update_geometry import by_round, correlation, disagreements
from cllora.reports.draw import MOST_DOTS
from cllora.reports.facts import Fact, Interval, NotMeasured, Trend
from cllora.reports.section import Dots, Lines, Section, sections
from cllora.reports.tables import groups
from cllora.stats import Correlation

X, Y = "distance of class mixes (Jensen-Shannon, bits)", "disagreement of updates (1 − cosine)"
ERROR = "error / mean change of the product"
SHOWN = ("diversity", "drift", "averaging_error", "effective_rank", "effective_updates", "clients")


@sections.register(title="How clients' updates relate", after="classes")
def update_geometry(results: Results) -> Section | NotMeasured:
    """First, two clients that trained in the same round, one dot a pair: how unlike their mixes of classes are
    (Jensen-Shannon divergence, 0 the same, 1 nothing in common) and how much their updates disagree (one minus their
    cosine: 0 the same direction, 1 unrelated, 2 opposite); lines go through the means of fifths of the pairs. Then the
    error of averaging LoRA's A and B apart, as a share of the mean change of their product: at 0.1, a tenth of what the
    clients learned together is lost or distorted by averaging. Spearman's rho has an interval over clients."""
    measured = results.measured("update_geometry")
    if not measured:
        return NotMeasured("relation of clients' updates")
    curve = results.counted(results.stacked((run, by_round(table)) for run, table in measured))
    pairs = results.counted(results.stacked((run, disagreements(table, run.partition)) for run, table in measured))
    of_cell = groups(pairs.rename(columns={"seed": "run"}))
    every = {cell: correlation(of_cell.get(cell, pairs[:0])) for cell in results.cells}
    pairs = pairs.dropna(subset=["distance", "disagreement"])
    dots = pairs.rename(columns={"distance": X, "disagreement": Y, "other": "and client"})
    errors = curve.groupby(["cell", "round"], sort=False, as_index=False)[["averaging_error"]].mean().dropna()
    errors = errors.rename(columns={"averaging_error": ERROR})
    title = "Disagreement of two clients' updates"
    scatter = Dots(dots, X, Y, units=("client", "and client", "seed", "round"), trend=True, title=title)
    lost = Lines(errors, "round", ERROR, units=(), zero=True, title="Error of averaging A and B apart")
    return Section(
        facts=(_fact(pairs, every),),
        figures=(scatter, lost),
        table=pd.DataFrame([_row(curve, cell, rho) for cell, rho in every.items()]),
        file=curve,
        notes=_notes(results, pairs),
    )


def _row(curve: pd.DataFrame, cell: str, rho: Correlation) -> dict[str, object]:
    mean = curve[curve["cell"] == cell].mean(numeric_only=True)
    return {
        "cell": cell,
        "disagreement (1 − cosine)": 1 - mean["cosine"],
        "with distance: rho": Interval(rho.rho, rho.low, rho.high),
        "pairs": rho.pairs,
        **{name: mean[name] for name in SHOWN},
    }


def _fact(pairs: pd.DataFrame, every: dict[str, Correlation]) -> Fact:
    """On the cell where distances vary most from pair to pair: chosen by what was dealt, not by what came out."""
    if pairs.empty:
        why = "No two clients with known class mixes trained in the same round"
        return NotMeasured("relation of clients' updates", why)
    spreads = {cell: rows["distance"].std() for cell, rows in groups(pairs).items() if len(rows) > 1}
    cell = max(spreads, key=lambda name: spreads[name], default=str(pairs["cell"].iloc[0]))
    rho, where = every[cell], f"{cell}, where distances between clients vary most"
    x, y = "the distance of their class mixes", "the disagreement of two clients' updates"
    return Trend(x, y, where, rho.rho, rho.low, rho.high, rho.pairs, rho.units)


def _notes(results: Results, pairs: pd.DataFrame) -> tuple[str, ...]:
    if pairs.empty:
        return ()
    many = pairs.groupby("cell").size().max() > MOST_DOTS
    drawn = f"Of a cell at most {MOST_DOTS} pairs are drawn; all are counted." if many else ""
    return ("In brackets: 95 % interval, a jackknife over clients, for each cell by itself.", drawn, *results.classed)
