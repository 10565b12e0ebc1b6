"""What was asked for."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cllora import store
from cllora.model.patterns import pattern_of, patterns
from cllora.presets import WIDTHS, StandIns, stand_ins
from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.labels import feature_text
from cllora.reports.runs import Run, Runs
from cllora.spec import Choice, Experiment, LoraSpec, PartitionSpec, SpoilSpec, axis_text


@figures.register()
def design(runs: Runs) -> Figure:
    """What was varied, what was held fixed, and how often it was repeated."""
    rows = [*_varied(runs), *_fixed(runs)]
    cells = words.count(len(runs.cells), "cell")
    against = f", compared with {runs.against}" if runs.controls and len(runs.cells) > 1 else ""
    return Figure(
        title="Design",
        conclusion=f"{cells} over {words.count(len(runs.seeds), 'seed')}: "
        f"{words.count(len(runs.members), 'run')}{against}.",
        table=pd.DataFrame(rows, columns=["what", "value"]),
        notes=(*(note for one in stand_ins() for note in _stand_ins(runs, one)), *_failed(runs)),
    )


def _stand_ins(runs: Runs, asked: StandIns) -> tuple[str, ...]:
    """What is compared where models of the package stand for larger ones."""
    names = {run.experiment.model.name for run in runs.members}
    there = {larger: name for larger, name in asked.models.items() if name in names}
    if len(there) < 2:
        return ()
    pairs = ", ".join(f"{name} (width {WIDTHS[name]}) for {larger}" for larger, name in there.items())
    return (
        f"Briefly trained models of {len(there)} widths stand in for {asked.whose}: {pairs}. They differ in depth "
        "and in how much they were trained too, as the cards in the package say.",
    )


def _failed(runs: Runs) -> tuple[str, ...]:
    """Runs that could not be finished, those of one reason together."""
    reasons = store.by_reason(runs.failed)
    return tuple(f"Failed: {words.listed(names)}: {reason}" for reason, names in reasons.items())


def _varied(runs: Runs) -> list[tuple[str, str]]:
    varied = [
        (f"{axis} (varied)", ", ".join(dict.fromkeys(run.labels[axis] for run in runs.members))) for axis in runs.axes
    ]
    return [*varied, ("seeds", ", ".join(map(str, runs.seeds)))]


def _fixed(runs: Runs) -> list[tuple[str, str]]:
    """The fields that decide the most, unless they are varied; the whole of it is in every run's spec.json."""
    found: dict[str, dict[str, None]] = {}
    for run in runs.members:
        asked = run.experiment
        for path, what, value in [*_base(run), *_dealt(asked.partition), *_trained(asked)]:
            if not any(_touches(path, axis) for axis in runs.axes.values()):
                found.setdefault(what, {})[value] = None
    return [
        (what if len(values) == 1 else f"{what} (with what is varied)", ", ".join(values))
        for what, values in found.items()
    ]


def _touches(path: str, axis: str) -> bool:
    """Whether they are the same field, or one is below the other."""
    return f"{path}.".startswith(f"{axis}.") or f"{axis}.".startswith(f"{path}.")


def _base(run: Run) -> list[tuple[str, str, str]]:
    """(field, what it is called, its value) of the model, its adapters and the texts."""
    asked, data = run.experiment, run.experiment.data
    source = next(key for key in ("path", "hub", "corpus") if getattr(data, key) is not None)
    return [
        ("model.name", "model", asked.model.name),
        ("model.context", "context", words.count(asked.model.context, "token")),
        *_long(asked),
        *_adapted(asked.lora, run.environment.model.lora_on or ()),
        (f"data.{source}", "texts", axis_text(data.path or data.hub) if data.corpus is None else _named(data.corpus)),
        *([] if data.spoil is None else _spoiled(data.spoil)),
    ]


def _long(asked: Experiment) -> list[tuple[str, str, str]]:
    """What is of long contexts, where it is not as ever: positions, and attention in training and evaluation."""
    model, evaluated = asked.model, asked.evaluation.pattern
    found: list[tuple[str, str, str]] = []
    if model.stretched:
        found.append(("model.positions", "positions", model.positions))
    if model.attention.name == evaluated.name == "full":
        return found
    return [
        *found,
        ("model.attention", "attention in training", _in_groups(model.attention, model.context)),
        ("evaluation.pattern", "attention in evaluation", _in_groups(evaluated, model.context)),
    ]


def _in_groups(choice: Choice, context: int) -> str:
    if choice.name not in patterns.names():
        return _named(choice)
    group = pattern_of(choice, context).group
    return choice.name if group is None else f"{choice.name}, groups of {words.count(group, 'token')}"


def _adapted(lora: LoraSpec, on: Sequence[str]) -> list[tuple[str, str, str]]:
    """What is trained; the modules that got LoRA by their names in the run, if it recorded them."""
    trained = [] if lora.train == "lora" else [("lora.train", "trained", lora.train)]
    if lora.train == "full":
        return trained
    asked = "the model's default" if lora.target_modules is None else lora.target_modules
    asked = asked if isinstance(asked, str) else ", ".join(asked)
    trained += [
        (f"lora.{field}", field, axis_text(value))
        for field in ("start", "use_dora", "layers_to_transform", "modules_to_save")
        if (value := getattr(lora, field))
    ]
    if lora.embedding_r is not None:
        trained.append(("lora.embedding_r", "r of LoRA on embeddings", f"{lora.embedding_r}"))
    if lora.embedding_rows is not None:
        trained.append(("lora.embedding_rows", "of embeddings", words.count(len(lora.embedding_rows), "row")))
    return [
        *trained,
        ("lora.r", "LoRA r", f"{lora.r}"),
        ("lora.lora_alpha", "lora_alpha", f"{lora.lora_alpha:g}"),
        ("lora.lora_dropout", "lora_dropout", f"{lora.lora_dropout:g}"),
        ("lora.target_modules", "target_modules", ", ".join(on) or asked),
    ]


def _spoiled(asked: SpoilSpec) -> list[tuple[str, str, str]]:
    by = axis_text({"name": asked.kind, **asked.options})
    return [
        ("data.spoil.kind", "spoiled by", by),
        ("data.spoil.share", "share of training texts spoiled", f"{asked.share:g}"),
    ]


def _dealt(asked: PartitionSpec) -> list[tuple[str, str, str]]:
    return [
        ("partition.scheme", "partition", asked.scheme),
        *((f"partition.{key}", key, axis_text(value)) for key, value in asked.options.items()),
        ("partition.by", "feature", feature_text(asked.by, asked.residual_on)),
        *([] if asked.and_by is None else [("partition.and_by", "second feature", feature_text(asked.and_by))]),
        ("partition.num_clients", "clients", f"{asked.num_clients}"),
    ]


def _trained(asked: Experiment) -> list[tuple[str, str, str]]:
    local, federation = asked.local, asked.federation
    work = "epochs" if local.steps is None else "steps"
    contexts = [] if local.contexts is None else [("local.contexts", "contexts of clients", _in_words(local.contexts))]
    return [
        ("federation.strategy", "strategy", _named(federation.strategy)),
        ("federation.num_rounds", "rounds", f"{federation.num_rounds}"),
        ("federation.clients_per_round", "clients per round", f"{federation.clients_per_round}"),
        (f"local.{work}", f"local {work}", f"{getattr(local, work)}"),
        ("local.batch_size", "batch size", f"{local.batch_size}"),
        *contexts,
        ("local.optim", "optimiser", local.optim),
        ("local.learning_rate", "learning rate", f"{local.learning_rate:g}"),
        ("local.lr_scheduler_type", "schedule", local.lr_scheduler_type),
    ]


def _in_words(contexts: Mapping[str, int] | Sequence[int]) -> str:
    if isinstance(contexts, Mapping):
        return ", ".join(f"{name} {context:,}" for name, context in contexts.items())
    return f"{words.listed([f'{context:,}' for context in contexts])}, in turn"


def _named(choice: Choice | None) -> str:
    return "" if choice is None else axis_text(choice.model_dump())
