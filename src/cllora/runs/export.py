"""A finished run's adapter, for use elsewhere."""

import shutil
from pathlib import Path

from cllora.corpus.recipes import read_template
from cllora.errors import UsageError
from cllora.store import last_round, read_experiment


def export_run(run: Path, out: Path, *, merged: bool = False) -> Path:
    """Write the last round's adapter into `out`, in PEFT's format or merged into its base.

    Raises:
        UsageError: `run` is no run folder, has no finished round, or `out` exists already.
    """
    experiment = read_experiment(run)
    if out.exists():
        raise UsageError(f"{out} exists already; choose another --out")
    last = last_round(run)
    if last is None:
        raise UsageError(f"{run} has no finished round yet")
    from cllora.model.adapters import Adapters
    from cllora.model.load import load_base, save_adapter, save_merged, save_tokenizer

    # In float32: in a narrower type adding the adapter to the weights would round most of it away.
    base = load_base(experiment.model.model_copy(update={"precision": "float32"}), experiment.lora)
    Adapters(base.model).write(last.state["adapter"])
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if merged:
        save_merged(base, partial)
    else:
        save_adapter(base, partial)
    if experiment.data.template is not None:
        # What chats were written by belongs to the model that learnt them.
        save_tokenizer(base, partial, read_template(experiment.data.template))
    partial.rename(out)
    return out
