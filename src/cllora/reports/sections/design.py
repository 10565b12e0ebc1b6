"""What was asked for."""

import pandas as pd

from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Runs
from cllora.spec import Choice, Experiment, axis_text


@figures.register()
def design(runs: Runs) -> Figure:
    """What was varied, what was held fixed, and how often it was repeated."""
    asked = runs.members[0].experiment
    rows = [*_varied(runs), *((what, value) for what, value in _fixed(asked, set(runs.axes.values())))]
    cells = words.count(len(runs.cells), "cell")
    against = f", compared with {runs.against}" if runs.controls and len(runs.cells) > 1 else ""
    return Figure(
        title="Design",
        conclusion=f"{cells} over {words.count(len(runs.seeds), 'seed')}: "
        f"{words.count(len(runs.members), 'run')}{against}.",
        table=pd.DataFrame(rows, columns=["what", "value"]),
    )


def _varied(runs: Runs) -> list[tuple[str, str]]:
    varied = [
        (f"{axis} (varied)", ", ".join(dict.fromkeys(run.labels[axis] for run in runs.members))) for axis in runs.axes
    ]
    return [*varied, ("seeds", ", ".join(map(str, runs.seeds)))]


def _fixed(asked: Experiment, axes: set[str]) -> list[tuple[str, str]]:
    """The fields that decide the most, unless they are varied; the whole of it is in every run's spec.json."""
    data, local, lora, partition = asked.data, asked.local, asked.lora, asked.partition
    modules = "the model's default modules" if lora.target_modules is None else ", ".join(lora.target_modules)
    source = data.path or data.hub or _named(data.corpus)
    work = words.count(local.epochs, "epoch") if local.steps is None else words.count(local.steps, "step")
    rows = [
        ("model.name", "model", asked.model.name),
        ("model.context", "context", words.count(asked.model.context, "token")),
        ("lora.r", "LoRA", f"r = {lora.r}, alpha = {lora.lora_alpha:g}, dropout = {lora.lora_dropout:g}, on {modules}"),
        ("data", "texts", source),
        (
            "partition.scheme",
            "partition",
            f"{partition.scheme} by {_named(partition.by)}{_options(partition.options, axes)}",
        ),
        ("partition.num_clients", "clients", f"{partition.num_clients}"),
        ("federation.strategy", "strategy", _named(asked.federation.strategy)),
        ("federation.num_rounds", "rounds", f"{asked.federation.num_rounds}"),
        ("federation.clients_per_round", "clients per round", f"{asked.federation.clients_per_round}"),
        ("local", "local training", f"{work}, batches of {local.batch_size}, {local.optim}"),
        ("local.learning_rate", "learning rate", f"{local.learning_rate:g}, {local.lr_scheduler_type}"),
    ]
    return [(what, value) for path, what, value in rows if path not in axes]


def _options(options: dict[str, object], axes: set[str]) -> str:
    said = [f"{key} = {axis_text(v)}" for key, v in options.items() if f"partition.{key}" not in axes]
    return f" ({', '.join(said)})" if said else ""


def _named(choice: Choice | None) -> str:
    return "" if choice is None else axis_text(choice.model_dump())
