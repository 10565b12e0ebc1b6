"""The section on fairness: the global model on every client's texts, round by round."""

from cllora.analysis import Results
from cllora.metrics.fairness import fairness as over_clients
from cllora.reports.facts import NotMeasured, effect_on_clients
from cllora.reports.notes import NO_TESTS, bands, other_tests
from cllora.reports.section import Lines, Section, sections
from cllora.reports.sections.signatures import marks


@sections.register(title="Fairness by round", after="client_spread")
def fairness(results: Results) -> Section | NotMeasured:
    """The global model on clients' own test texts, minus the untrained base's loss on the same texts, after every
    round. First the tenth of the clients, at least one, that it helped least: above zero it harms them. Then the
    standard deviation over clients: at zero all are helped alike. Thick: mean over seeds; thin: single seeds."""
    rows = results.stacked((run, over_clients(run.tables.clients)) for run in results.members)
    if rows.empty:
        return NotMeasured("spread over clients", NO_TESTS)
    collapsed = marks(results, rows, ["fairness collapse"])
    return Section(
        facts=(effect_on_clients(results, "change_worst_tenth", "excess_worst_tenth"),),
        figures=(
            Lines(rows, "round", "change_worst_tenth", zero=True, title="The worst tenth"),
            Lines(rows, "round", "change_std", marks=collapsed, title="Spread over clients"),
        ),
        table=rows,
        notes=(other_tests(results), bands(results)),
    )
