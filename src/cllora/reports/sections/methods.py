"""How it was measured, and on what."""

import re
from collections.abc import Iterator

import pandas as pd

from cllora.analysis import Results, Run
from cllora.errors import counted
from cllora.metrics import MARGIN, metrics
from cllora.reports.columns import column
from cllora.reports.facts import Fact, Statement
from cllora.reports.formats import listed
from cllora.reports.section import Section, sections
from cllora.types import DataRecord, Environment, Origin, to_plain

DEFINITIONS = {
    "loss per token": "negative log-likelihood of all texts over all their predicted tokens, in nats; exp of it is the "
    "perplexity",
    "base": "the untrained model on the same texts: round 0, where the adapter changes nothing",
    "difference": "cell minus control, paired by seed; Student's t interval over the pairs, 95 %: in tables for each "
    "comparison by itself, in sentences at the level at which Holm's procedure decides among all N that it chose from",
    "differs, clear": "p of the paired t test at most 0.05 after Holm's correction over all N comparisons",
    "equivalent within m": f"two one-sided t tests find the difference smaller than m, {MARGIN:g} for losses (1 % of "
    "perplexity), at 5 % after Holm's correction",
    "seeds needed": "at the observed spread of differences, to find one as large as m, or to show equivalence where "
    "there is none, with 80 % power: a rough number, as the spread of few seeds is",
    "means": "over the finished runs of a cell; where none is finished, over all that it has",
}
STARTED = {
    "base": "the model before training on the same texts, round 0: the base with the adapter of lora.start where one "
    "is named"
}
"""Takes the place of `base` there."""


@sections.register(after="signatures")
def methods(results: Results) -> Section:
    """What the words mean, and the machine, the versions and the data that the numbers come from."""
    shown = [m for m in metrics.every() if "table" in m.places or "forest" in m.places]
    defined = {metric.title: _titled(metrics.help(metric.name)) for metric in shown}
    recorded: dict[str, dict[str, None]] = {}
    for run in results.members:
        for what, value in _environment(run):
            recorded.setdefault(what, {})[value] = None
    base = {**DEFINITIONS, **STARTED} if results.has_start else DEFINITIONS
    rows = {**base, **defined, **{what: "; ".join(values) for what, values in recorded.items()}}
    return Section(
        title="Methods and environment",
        facts=(_strength(results),),
        table=pd.DataFrame(rows.items(), columns=["what", "value"]),
    )


def _titled(text: str) -> str:
    """A metric's help with other metrics by their titles."""
    return re.sub(r"`(\w+)`", lambda name: f"the {column(name[1]).title}", text).removesuffix(".")


def _strength(results: Results) -> Fact:
    """How often each comparison was repeated, and what its interval therefore covers."""
    if len(results.seeds) == 1:
        text = "One seed: no interval is given, and a second seed may turn a difference round."
        return Statement(text, {"seeds": 1})
    pairs = results.contrasts("final_loss")["seeds"]
    if pairs.empty:
        fewest = int(results.averaged.groupby("cell")["seed"].nunique().min())
        text = f"Every cell has at least {counted(fewest, 'seed')}, which differ in {_redrawn(results)}."
        return Statement(text, {"seeds": fewest})
    text = (
        f"Every comparison has at least {counted(int(pairs.min()), 'pair')} of runs of equal seed; its interval "
        f"covers what a seed draws anew ({_redrawn(results)}), not another model or other data."
    )
    return Statement(text, {"pairs": int(pairs.min())})


def _redrawn(results: Results) -> str:
    named = all(isinstance(run.experiment.data.test, str) for run in results.members)
    split = [] if named else ["the split into training and global test texts"]
    return listed([*split, "the partition", "the clients chosen", "the order of their texts", "the adapter's start"])


def _environment(run: Run) -> Iterator[tuple[str, str]]:
    """What a run's environment.json says."""
    ran_on = run.environment
    if ran_on == Environment():
        yield "environment", "not recorded"
        return
    data, sizes = ran_on.data, ran_on.communication
    dropped = ", ".join(f"{n} {reason}" for reason, n in data.dropped.items() if n) or "none"
    parameters = sizes.trainable_parameters, sizes.full_parameters
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in ran_on.versions.items()),
        "hardware": ", ".join(f"{key}: {value}" for key, value in to_plain(ran_on.hardware).items()),
        "precision": ran_on.precision,
        "base model": _base(ran_on.model.origin),
        "data fingerprint": data.fingerprint,
        "texts": "" if data.samples is None else f"{data.samples:,}",
        "dropped rows": "" if data == DataRecord() else dropped,
        "trainable parameters": "" if None in parameters else " of ".join(f"{many:,}" for many in parameters),
    }
    yield from ((what, value) for what, value in rows.items() if value)


def _base(origin: Origin | None) -> str:
    """Where a base from a GGUF file comes from: its file and hash, its name, source and licence as the file says."""
    if origin is None:
        return ""
    types = ", ".join(f"{count} {kind}" for kind, count in origin.types.items())
    parts = [
        f"{origin.file} (GGUF, {origin.architecture}; {types}), dequantised to float32",
        f"SHA-256 {origin.sha256}",
        *(f"{key}: {value}" for key, value in origin.metadata.items()),
    ]
    if origin.package is not None:
        package = origin.package
        parts += [f"from the package {package.name} {package.version} ({package.license})", *package.urls]
    return "; ".join(parts)
