"""The global model after every round."""

from cllora.reports import labels, words
from cllora.reports.curves import BAND, SINGLE, by_round, marks
from cllora.reports.figure import Figure, Plot, figures
from cllora.reports.runs import Runs
from cllora.reports.style import chart, keys, looks


@figures.register()
def global_loss(runs: Runs) -> Figure:
    """The global model on the global test set after every round; round 0 is the untrained base. First the loss, then
    the loss minus that of round 0: seeds draw their own test texts, and so differ in the loss they begin from. Thick:
    mean over the seeds that are finished, or if none is over all. Thin: single seeds. Marked is where a run's global
    loss swings or ends above the base's (failure signatures)."""
    curve = runs.frame("curve")
    first = curve[curve["round"] == 0].set_index(["cell", "seed"])["loss"].rename("base")
    changed = curve.join(first, on=["cell", "seed"]).assign(change=lambda rows: rows["loss"] - rows["base"])
    figure, change = (chart("round", f"{what}<br>({words.NATS})", hovermode="x unified") for what in ("loss", "change"))
    by_round(figure, runs, changed, "loss", band=False)
    by_round(change, runs, changed, "change")
    names = ["global oscillation", "divergence"]
    found = marks(figure, runs, changed, "loss", names)
    marks(change, runs, changed, "change", names)
    several = len(runs.seeds) > 1
    means = runs.averaged.groupby("cell", sort=False)["final_loss"].mean()
    ends = ", ".join(f"{words.number(loss)} for {cell}" for cell, loss in means.items())
    changes = runs.averaged.groupby("cell", sort=False)["change"].mean()
    gains = ", ".join(f"{words.signed(mean)} for {cell}" for cell, mean in changes.items())
    base = runs.averaged["base_loss"].mean()
    alt = f"Lines of the global test loss by round. From {words.number(base)} {words.NATS} untrained to {ends}."
    return Figure(
        title="Global loss by round",
        conclusion=words.effect(runs, "final_loss", "the final global loss"),
        plots=(
            Plot(figure, alt, "Loss"),
            Plot(change, f"Lines of the loss minus that of round 0 by round, to {gains}.", "Change against the base"),
        ),
        legend=(*keys(looks(runs.cells, runs.controls)), *((SINGLE,) if several else ()), *found),
        table=curve.rename(
            columns={"loss": f"loss ({words.NATS})", "loss_per_sample": "mean of the texts' means (nats per token)"}
        ),
        notes=(*_unfinished(runs), *_unlike(runs), *((BAND,) if several else ())),
    )


def _unlike(runs: Runs) -> tuple[str, ...]:
    """Whether means of cells are over different seeds, so that lines may lie apart for that alone."""
    seeds = {tuple(sorted(of["seed"])) for _, of in runs.averaged.groupby("cell")}
    said = "Means of cells are over different seeds here: the effects compare equal seeds, the lines do not."
    return (said,) if len(seeds) > 1 else ()


def _unfinished(runs: Runs) -> tuple[str, ...]:
    stopped = [
        f"{runs.cell(run.labels)}, seed {run.seed} stopped after round {run.outcome['rounds']:.0f} of "
        f"{run.experiment.federation.num_rounds}"
        for run in runs.members
        if not run.finished
    ]
    notes = []
    if stopped:
        notes.append(
            f"Unfinished: {'; '.join(stopped)}. Compared with the control are only runs that came equally far."
        )
    if runs.missing:
        notes.append(f"Not begun: {words.listed(list(runs.missing))}.")
    return (*notes, *labels.leak_note(runs.leaking))
