"""The global model after every round."""

from cllora.analysis import Results
from cllora.metrics.formats import listed
from cllora.reports.facts import effect
from cllora.reports.notes import bands, leaks
from cllora.reports.section import Lines, Section, sections
from cllora.reports.sections.signatures import marks
from cllora.spec import PRIMARY


@sections.register(title="Global loss by round", after="partition")
def global_loss(results: Results) -> Section:
    """The global model on the global test set after every round; round 0 is the untrained base. First the loss, then
    the loss minus that of round 0: seeds draw their own test texts, and so differ in the loss they begin from. Thick:
    mean over the seeds that are finished, or if none is over all. Thin: single seeds. Marked is where a run's global
    loss swings or ends above the base's (failure signatures)."""
    curve = results.frame("curve")
    first = curve[curve["round"] == 0].set_index(["cell", "seed"])["loss"].rename("base")
    rows = curve.join(first, on=["cell", "seed"]).assign(loss_change=lambda table: table["loss"] - table["base"])
    marked = marks(results, rows, ["global oscillation", "divergence"])
    return Section(
        facts=(effect(results, PRIMARY),),
        figures=(
            Lines(rows, "round", "loss", band=False, marks=marked, title="Loss"),
            Lines(rows, "round", "loss_change", marks=marked, title="Change against the base"),
        ),
        table=curve,
        notes=(_stopped(results), _not_begun(results), leaks(results), _unlike(results), bands(results)),
    )


def _unlike(results: Results) -> str:
    """Whether means of cells are over different seeds, so that lines may lie apart for that alone."""
    seeds = {tuple(sorted(rows["seed"])) for _, rows in results.averaged.groupby("cell")}
    note = "Means of cells are over different seeds here: the effects compare equal seeds, the lines do not."
    return note if len(seeds) > 1 else ""


def _stopped(results: Results) -> str:
    runs = [
        f"{results.cell(run.labels)}, seed {run.seed} stopped after round {run.last_round} of "
        f"{run.experiment.federation.num_rounds}"
        for run in results.members
        if not run.finished
    ]
    why = "Compared with the control are only runs that came equally far."
    return f"Unfinished: {'; '.join(runs)}. {why}" if runs else ""


def _not_begun(results: Results) -> str:
    return f"Not begun: {listed(list(results.missing))}." if results.missing else ""
