"""The sections on clients: their own adapters against the global one, and how evenly the global one serves them."""

import pandas as pd

from cllora.analysis import Results
from cllora.metrics.formats import span
from cllora.reports.facts import NotMeasured, effect, effect_on_clients
from cllora.reports.notes import NO_TESTS, other_tests
from cllora.reports.section import Dots, Section, sections

PLACES = {"own_gap": "On the client's own test texts", "test_gap": "On everyone's test texts"}


@sections.register(title="Local against global loss", after="results")
def local_against_global(results: Results) -> Section | NotMeasured:
    """A client's adapter just after its local training, minus the global model that came out of the same round. Left of
    zero its own adapter is better. First on the client's own test texts, then on everyone's (the global test set). One
    dot is a client's last local training in a run; the box goes from quartile to quartile, its dashed line is the
    mean, and its whiskers end at the last dots within one and a half times the box's length."""
    gaps = results.counted(results.frame("gaps"))
    gaps = gaps.sort_values("round", kind="stable").groupby(["cell", "seed", "client"], as_index=False).tail(1)
    dots = gaps.melt(["cell", "seed", "client", "round"], list(PLACES), "where", "gap").dropna(subset=["gap"])
    if dots.empty:
        return NotMeasured("difference", "No client's own adapter was evaluated")
    own = bool(gaps["own_gap"].notna().any())
    dots = dots.assign(where=dots["where"].map(PLACES))
    return Section(
        facts=(effect_on_clients(results, "own_gap", "matched_gap") if own else effect(results, "test_gap"),),
        figures=(Dots(dots, "gap", units=("client", "seed", "round"), box=True, zero=True, facet="where"),),
        table=gaps,
        notes=(other_tests(results) if own else f"{NO_TESTS}.",),
    )


@sections.register(title="What training brought each client", after="local_against_global")
def client_spread(results: Results) -> Section | NotMeasured:
    """The final global model on every client's own test texts, minus the untrained base's loss on the same texts: what
    training brought each client. Texts differ in how hard they are, so raw losses would show the texts, not the
    training. One dot is a client in a run; the further right, the less it was helped. The box goes from quartile to
    quartile, its dashed line is the mean, and its whiskers end at the last dots within one and a half times the box's
    length."""
    clients = results.final("clients").dropna(subset=["change"])
    if clients.empty:
        return NotMeasured("spread over clients", NO_TESTS)
    tested = span(int(clients["samples"].min()), int(clients["samples"].max()))
    return Section(
        facts=(effect_on_clients(results, "change_std", "excess_spread"),),
        figures=(Dots(clients, "change", units=("client", "seed", "samples"), box=True),),
        table=_with_contexts(clients, results),
        notes=(
            f"A client is tested on {tested} of its own texts: part of the spread is the chance of which texts.",
            other_tests(results),
        ),
    )


def _with_contexts(clients: pd.DataFrame, results: Results) -> pd.DataFrame:
    """The table with each client's context in training, where clients have their own (`local.contexts`)."""
    if all(run.partition.context(0) is None for run in results.members):
        return clients
    contexts = {
        (results.cell(run.labels), run.seed, client): run.partition.context(client) or run.experiment.model.context
        for run in results.members
        for client in range(run.partition.num_clients)
    }
    owners = clients[["cell", "seed", "client"]].itertuples(index=False, name=None)
    return clients.assign(context=[contexts[client] for client in owners])
