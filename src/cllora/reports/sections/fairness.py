"""How evenly the global model serves the clients, round by round."""

from cllora.metrics.fairness import fairness as over_clients
from cllora.reports import words
from cllora.reports.curves import BAND, SINGLE, by_round, marks
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.sections.clients import NO_TESTS
from cllora.reports.style import ZERO_LINE, chart, keys, looks


@figures.register()
def fairness(runs: Runs) -> Figure:
    """The global model on clients' own test texts, minus the untrained base's loss on the same texts, after every
    round. First the tenth of the clients, at least one, that it helped least: above zero it harms them. Then the
    standard deviation over clients: at zero all are helped alike. Thick: mean over seeds; thin: single seeds."""
    rows = runs.stacked((run, over_clients(run.tables.clients)) for run in runs.members)
    if rows.empty:
        return Figure("Fairness by round", NO_TESTS)
    worst = chart("round", "change of loss<br>(nats per token)", 320, hovermode="x unified")
    by_round(worst, runs, rows, "change_worst_tenth")
    worst.add_hline(y=0, line=ZERO_LINE)
    spread = chart("round", "standard deviation<br>(nats per token)", 320, hovermode="x unified")
    by_round(spread, runs, rows, "change_std")
    found = marks(spread, runs, rows, "change_std", ["fairness collapse"])
    collapsed = len(runs.signatures.query("signature == 'fairness collapse'"))
    several = len(runs.seeds) > 1
    return Figure(
        title="Fairness by round",
        conclusion=words.effect(runs, "change_worst_tenth", "the change of loss for the worst tenth of clients"),
        plots=(
            Plot(worst, f"Lines by round. At the end: {_ends(runs, 'change_worst_tenth')}.", "The worst tenth"),
            Plot(
                spread,
                f"Lines by round. At the end: {_ends(runs, 'change_std')}. Fairness collapse marked in "
                f"{words.count(collapsed, 'run')}.",
                "Spread over clients",
            ),
        ),
        legend=(*keys(looks(runs.cells, runs.controls)), *((SINGLE,) if several else ()), *found),
        table=rows,
        notes=(BAND,) if several else (),
    )


def _ends(runs: Runs, column: str) -> str:
    means = runs.averaged.groupby("cell", sort=False)[column].mean().dropna()
    return ", ".join(f"{words.signed(mean)} at {cell}" for cell, mean in means.items()) or "nothing was measured"
