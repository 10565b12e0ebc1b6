"""A finished run's adapter, for use elsewhere."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from cllora.corpus.recipes import read_template
from cllora.errors import UsageError
from cllora.registry import load_plugins
from cllora.runs.again import base_again, samples_again
from cllora.store import last_round, read_experiment
from cllora.types import Model


def export_run(run: Path, out: Path, *, merged: bool = False, model: str | None = None) -> Path:
    """Write the last round's global model into `out`, as an adapter in PEFT's format or merged into its base.

    `model` names one, such as `global/1`, where the strategy has several.

    Raises:
        UsageError: `run` is no run folder, has no finished round or no such model, its base or its template has changed
            since, or `out` exists already.
    """
    experiment = read_experiment(run)
    if out.exists():
        raise UsageError(f"{out} exists already; choose another --out")
    last = last_round(run)
    if last is None:
        raise UsageError(f"{run} has no finished round yet")
    from cllora.federated import global_models, strategy_of
    from cllora.model.adapters import Adapters
    from cllora.model.load import load_base, save_adapter, save_merged, save_tokenizer
    from cllora.model.stacked import merge_frozen, stack_frozen

    load_plugins(experiment.load)
    if experiment.data.template is not None:
        samples_again(run, experiment)  # a template is exported as it was when texts were written by it
    base = base_again(run, experiment)
    if base.precision != "float32":
        # In a narrower type adding the adapter to the weights would round most of it away.
        base = load_base(experiment.model.model_copy(update={"precision": "float32"}), experiment.lora)
    adapters = Adapters(base.model)
    if base.start is not None:
        adapters.start_at(adapters.layout.join(base.start))
    chosen = _chosen(global_models(strategy_of(experiment, adapters), last.state), model)
    adapters.write(chosen)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if merged:
        merge_frozen(base.model, adapters.layout, chosen.frozen)
        save_merged(base, partial)
    else:
        save_adapter(base, partial)
        stack_frozen(partial, adapters.layout, chosen.frozen)
    if experiment.data.template is not None:
        # What chats were written by belongs to the model that learnt them.
        save_tokenizer(base, partial, read_template(experiment.data.template))
    partial.rename(out)
    return out


def _chosen(models: Mapping[str, Model], name: str | None) -> Model:
    """The one that is named; or the only one."""
    if name is None and len(models) > 1:
        raise UsageError(f"the run has several global models; choose one with --model: {', '.join(models)}")
    if name is not None and name not in models:
        raise UsageError(f"the run has no model '{name}'; --model is one of {', '.join(models)}")
    return next(iter(models.values())) if name is None else models[name]
