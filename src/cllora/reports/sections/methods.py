"""How it was measured, and on what."""

from collections.abc import Iterable

import pandas as pd

from cllora.metrics import MARGIN
from cllora.reports import words
from cllora.reports.figure import Figure, figures
from cllora.reports.runs import Run, Runs
from cllora.types import DataRecord, Environment, Origin, to_plain

DEFINITIONS = (
    (
        "loss per token",
        "negative log-likelihood of all texts over all their predicted tokens, in nats; exp of it is the perplexity",
    ),
    ("base", "the untrained model on the same texts: round 0, where the adapter changes nothing"),
    (
        "local loss",
        "a client's own adapter just after its last local training, on its own test texts; mean over clients",
    ),
    ("client spread", "standard deviation over clients (population: divided by their number) of loss minus base"),
    ("worst tenth", "mean of loss minus base over the tenth of clients, at least one, where it is highest"),
    ("Jain's index", "(sum x)² / (K · sum x²) of x = loss over base loss; 1 is even, 1/K the most uneven"),
    (
        "difference",
        "cell minus control, paired by seed; Student's t interval over the pairs, 95 %: in tables for each comparison "
        "by itself, in sentences at the level at which Holm's procedure decides among all N that it chose from",
    ),
    ("differs, clear", "p of the paired t test at most 0.05 after Holm's correction over all N comparisons"),
    (
        "equivalent within m",
        f"two one-sided t tests find the difference smaller than m, {MARGIN:g} for losses (1 % of perplexity), at 5 % "
        "after Holm's correction",
    ),
    (
        "seeds needed",
        "at the observed spread of differences, to find one as large as m, or to show equivalence where there is none, "
        "with 80 % power: a rough number, as the spread of few seeds is",
    ),
    ("means", "over the finished runs of a cell; where none is finished, over all that it has"),
    ("saved", "1 − bytes sent / (messages · parameters · 4 bytes)"),
)

STARTED = (
    "start",
    "the model before training on the same texts, round 0: the base with the adapter of lora.start where one is named",
)
"""Takes the place of `base` there."""


@figures.register()
def methods(runs: Runs) -> Figure:
    """What the words mean, and the machine, the versions and the data that the numbers come from."""
    rows = [*(STARTED if runs.has_start and row[0] == "base" else row for row in DEFINITIONS), *_recorded(runs.members)]
    return Figure(
        title="Methods and environment",
        conclusion=_strength(runs),
        table=pd.DataFrame(rows, columns=["what", "value"]),
    )


def _strength(runs: Runs) -> str:
    """How often each comparison was repeated, and what its interval therefore covers."""
    if len(runs.seeds) == 1:
        return "One seed: no interval is given, and a second seed may turn a difference round."
    pairs = runs.contrasts("final_loss")["seeds"]
    if pairs.empty:
        fewest = words.count(int(runs.averaged.groupby("cell")["seed"].nunique().min()), "seed")
        return f"Every cell has at least {fewest}, which differ in {_redrawn(runs)}."
    return (
        f"Every comparison has at least {words.count(int(pairs.min()), 'pair')} of runs of equal seed; its interval "
        f"covers what a seed draws anew ({_redrawn(runs)}), not another model or other data."
    )


def _redrawn(runs: Runs) -> str:
    named = all(isinstance(run.experiment.data.test, str) for run in runs.members)
    split = [] if named else ["the split into training and global test texts"]
    return words.listed(
        [*split, "the partition", "the clients chosen", "the order of their texts", "the adapter's start"]
    )


def _recorded(members: Iterable[Run]) -> list[tuple[str, str]]:
    """What the runs' environment.json say, every differing value listed."""
    found: dict[str, dict[str, None]] = {}
    for run in members:
        for what, value in _environment(run):
            found.setdefault(what, {})[value] = None
    return [(what, "; ".join(values)) for what, values in found.items()]


def _environment(run: Run) -> list[tuple[str, str]]:
    ran_on = run.environment
    if ran_on == Environment():
        return [("environment", "not recorded")]
    data, sizes, hardware = ran_on.data, ran_on.communication, to_plain(ran_on.hardware)
    dropped = ", ".join(f"{n} {reason}" for reason, n in data.dropped.items() if n) or "none"
    rows = [
        ("versions", ", ".join(f"{name} {version}" for name, version in ran_on.versions.items())),
        ("hardware", ", ".join(f"{key}: {value}" for key, value in hardware.items())),
        ("precision", ran_on.precision or ""),
        ("base", _base(ran_on.model.origin)),
        ("data fingerprint", data.fingerprint or ""),
        ("texts", "" if data.samples is None else f"{data.samples:,}"),
        ("dropped rows", "" if data == DataRecord() else dropped),
        ("trainable parameters", _of(sizes.trainable_parameters, sizes.full_parameters)),
    ]
    return [(what, value) for what, value in rows if value]


def _base(origin: Origin | None) -> str:
    """Where a base from a GGUF file comes from: its file and hash, its name, source and licence as the file says."""
    if origin is None:
        return ""
    types = ", ".join(f"{count} {kind}" for kind, count in origin.types.items())
    parts = [
        f"{origin.file} (GGUF, {origin.architecture}; {types}), dequantised to float32",
        f"SHA-256 {origin.sha256}",
        *(f"{key}: {value}" for key, value in origin.said.items()),
    ]
    if origin.package is not None:
        package = origin.package
        parts += [f"from the package {package.name} {package.version} ({package.license})", *package.urls]
    return "; ".join(parts)


def _of(trained: int | None, full: int | None) -> str:
    return f"{trained:,} of {full:,}" if trained is not None and full is not None else ""
