"""The section on where the doubt of effects comes from."""

from dataclasses import asdict

import pandas as pd

from cllora.analysis import Results, Spread, variance
from cllora.errors import counted
from cllora.metrics.formats import number, percent
from cllora.reports.facts import NotMeasured, Statement
from cllora.reports.section import Bars, Section, sections

SOURCES = {"texts": "test texts", "rounds": "rounds", "rest": "drawn once a seed"}
SAME_TEXTS = "All seeds have the same test texts: no interval knows that other texts may differ."


@sections.register(title="Where the doubt comes from", after="effects")
def doubt(results: Results) -> Section | NotMeasured:
    """The variance over seeds of the differences in global loss late in training against the control, by its source:
    what so few test texts bring; what so few rounds bring, mostly by who was chosen in them; and what is left, drawn
    once for a seed, such as who holds which texts. Few seeds know a variance badly, so shares are of that order, no
    more."""
    spreads = variance(results)
    if not spreads:
        return NotMeasured("spread over seeds", "It takes two seeds of a cell and its control")
    table = pd.DataFrame([asdict(spread) for spread in spreads])
    rows = table.melt("cell", list(SOURCES), "source", "share_of_variance")
    rows["source"] = rows["source"].map(SOURCES)
    widest = max(spreads, key=lambda spread: spread.sd)
    return Section(
        facts=(_sources(widest), _best_buy(widest)),
        figures=(Bars(rows, "share_of_variance", "cell", "source"),),
        table=table[["cell", "seeds", "sd", *SOURCES]],
        file=table,
        notes=(SAME_TEXTS if any(spread.same_texts for spread in spreads) else "",),
    )


def _sources(spread: Spread) -> Statement:
    of_texts = f"{percent(spread.texts)} comes of there being {spread.test_texts:,} test texts, "
    of_all = "" if spread.same_texts else of_texts
    text = (
        f"At {spread.cell} the difference varies over seeds by {number(spread.sd, 4)} nats per token (standard "
        f"deviation). Of its variance {of_all}{percent(spread.rounds)} comes of the mean over "
        f"{counted(spread.late_rounds, 'round')}, and {percent(spread.rest)} is drawn once a seed."
    )
    return Statement(text, {"sd": spread.sd, **{name: getattr(spread, name) for name in SOURCES}})


def _best_buy(spread: Spread) -> Statement:
    """The purchase that takes the most variance for its time."""
    best = min(spread.prices, key=lambda name: spread.prices[name])
    if best == "seeds":
        return Statement("To know it better, seeds are the best buy: twice as many halve the variance.")
    time = 1 + spread.evaluation
    left = spread.prices[best] / time
    text = (
        f"To know it better, {best} are the best buy: twice as many leave {percent(left)} of the variance for "
        f"{time:.2f} times the time, for which seeds would leave {percent(1 / time)}."
    )
    return Statement(text, {"variance": left, "time": time})
