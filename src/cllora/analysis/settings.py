"""The settings of a study as a table: what was varied, what was held fixed, in the words of a reader."""

from collections.abc import Iterator, Mapping

import pandas as pd

from cllora.analysis.names import feature_text
from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.errors import counted
from cllora.metrics.formats import listed
from cllora.model.patterns import pattern_of, patterns
from cllora.spec import Choice, Experiment, axis_text

NAMES = {
    "model.name": "model",
    "model.attention": "attention in training",
    "evaluation.pattern": "attention in evaluation",
    "lora.train": "trained",
    "lora.r": "LoRA r",
    **dict.fromkeys(("data.path", "data.hub", "data.corpus"), "texts"),
    "data.corrupt.kind": "corrupted by",
    "data.corrupt.share": "share of training texts corrupted",
    "partition.scheme": "partition",
    "partition.by": "feature",
    "partition.and_by": "second feature",
    **{f"local.{field}": f"local {field}" for field in ("epochs", "steps")},
    "local.contexts": "contexts of clients",
    "local.optim": "optimiser",
    "local.lr_scheduler_type": "schedule",
}
"""The names of fields that are not called by their own."""
ALWAYS = {
    "model": ("name", "context", "attention"),
    "lora": ("r", "lora_alpha", "lora_dropout", "target_modules"),
    "data": ("path", "hub", "corpus"),
    "partition": ("scheme", "by", "num_clients"),
    "federation": ("strategy", "num_rounds", "clients_per_round"),
    "local": ("epochs", "batch_size", "optim", "learning_rate", "lr_scheduler_type"),
    "evaluation": ("pattern",),
}
"""Fields by section that are told though they have their default; of others those with another value are."""


def settings(results: Results) -> pd.DataFrame:
    """The fields that were varied and those held fixed, a row each: what, value. All others have their default."""
    return pd.DataFrame([*_varied(results), *_fixed(results)], columns=["what", "value"])


def _varied(results: Results) -> Iterator[tuple[str, str]]:
    for axis in results.axes:
        yield f"{axis} (varied)", ", ".join(dict.fromkeys(run.labels[axis] for run in results.members))
    yield "seeds", ", ".join(map(str, results.seeds))


def _fixed(results: Results) -> Iterator[tuple[str, str]]:
    """The fields that are not varied, and what goes with those that are."""
    values: dict[str, dict[str, None]] = {}
    for run in results.members:
        for path, value in _fields(run):
            if not any(_touches(path, axis) for axis in results.axes.values()):
                field = path.rpartition(".")[2].removeprefix("num_")
                name = NAMES.get(path, field if path.startswith("lora.") else field.replace("_", " "))
                values.setdefault(name, {})[value] = None
    for name, several in values.items():
        yield name if len(several) == 1 else f"{name} (with what is varied)", ", ".join(several)


def _touches(path: str, axis: str) -> bool:
    """Whether they are the same field, or one is below the other."""
    return f"{path}.".startswith(f"{axis}.") or f"{axis}.".startswith(f"{path}.")


def _fields(run: Run) -> Iterator[tuple[str, str]]:
    """The fields that are told of a run, and their values as text."""
    unlike = _flat(run.experiment.model_dump(mode="json", exclude_defaults=True))
    always = {f"{section}.{field}" for section, fields in ALWAYS.items() for field in fields}
    for path, value in _flat(run.experiment.every_field()).items():
        if (path in unlike or path in always) and not _says_nothing(run.experiment, path):
            yield path, _text(run, path, value)


def _flat(fields: Mapping[str, object]) -> dict[str, object]:
    """`section.field` to value; of `data.corrupt` the kind and the share."""
    inner_of = {section: inner for section in ALWAYS if isinstance(inner := fields.get(section), Mapping)}
    flat = {f"{section}.{field}": value for section, inner in inner_of.items() for field, value in inner.items()}
    corrupt = flat.pop("data.corrupt", None)
    corrupted = (
        {f"data.corrupt.{name}": corrupt[name] for name in ("kind", "share")} if isinstance(corrupt, Mapping) else {}
    )
    return flat | corrupted


def _says_nothing(asked: Experiment, path: str) -> bool:
    """Whether a field is of no effect beside the others, or is told with another."""
    if path.startswith("lora.") and path != "lora.train":
        return asked.lora.train == "full"
    if path in ("model.attention", "evaluation.pattern"):
        return asked.model.attention.name == asked.evaluation.pattern.name == "full"
    if path in ("data.path", "data.hub", "data.corpus"):
        return getattr(asked.data, path.removeprefix("data.")) is None
    return path == "partition.residual_on" or (path == "local.epochs" and asked.local.steps is not None)


def _text(run: Run, path: str, value: object) -> str:
    asked = run.experiment
    match path, value:
        case "data.corrupt.kind", _ if asked.data.corrupt is not None:
            return axis_text({"name": asked.data.corrupt.kind, **asked.data.corrupt.options})
        case "model.context", int(context):
            return counted(context, "token")
        case "model.attention", _:
            return _in_groups(asked.model.attention, asked.model.context)
        case "evaluation.pattern", _:
            return _in_groups(asked.evaluation.pattern, asked.model.context)
        case "partition.by", _:
            return feature_text(asked.partition.by, asked.partition.residual_on)
        case "partition.and_by", Mapping():
            return feature_text(Choice.model_validate(value))
        case "lora.target_modules", _ if run.environment.model.lora_on:
            return ", ".join(run.environment.model.lora_on)
        case "lora.target_modules", None:
            return "the model's default"
        case "lora.embedding_rows", list(rows):
            return counted(len(rows), "row")
        case "local.contexts", Mapping():
            return ", ".join(f"{name} {context:,}" for name, context in value.items())
        case "local.contexts", list(contexts):
            return f"{listed([f'{context:,}' for context in contexts])}, in turn"
        case _, list(names):
            return ", ".join(map(str, names))
        case _, float(number):
            return f"{number:g}"
        case _:
            return axis_text(value)


def _in_groups(choice: Choice, context: int) -> str:
    group = pattern_of(choice, context).group if choice.name in patterns else None
    return axis_text(choice.model_dump()) if group is None else f"{choice.name}, groups of {counted(group, 'token')}"
