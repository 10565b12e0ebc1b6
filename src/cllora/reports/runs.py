"""Runs as tidy tables that the figures group and draw."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cllora import measure, store
from cllora.reports import labels
from cllora.spec import Experiment
from cllora.types import Environment, Partition


@dataclass(frozen=True)
class Run:
    """One run as far as it came. `labels` are its axis values as text."""

    folder: Path
    labels: Mapping[str, str]
    experiment: Experiment
    partition: Partition
    rounds: Sequence[Mapping[str, Any]]
    environment: Environment
    tables: measure.Tables
    outcome: Mapping[str, float]
    probes: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def fingerprint(self) -> str:
        """What tells this run's data from other data; empty if it was not recorded."""
        return self.environment.data.fingerprint or ""

    @property
    def base(self) -> str:
        """What runs of the same base at the same context agree in, whatever is trained on it and how."""
        return self.experiment.model.model_dump_json(exclude={"attention", "checkpointing", "loss_piece"})

    @property
    def finished(self) -> bool:
        return bool(self.outcome["rounds"] >= self.experiment.federation.num_rounds)


@dataclass(frozen=True)
class Runs:
    """All runs of a folder. A *cell* is a setting of the axes, the same over seeds, such as `alpha = 0.1`.

    `axes` are the fields that differ between runs, by the name they are shown under; `control` the axis values that
    others are compared with (empty: there is none); `missing` the runs of the study that hold no round yet, `failed`
    why some could not be finished, and `asked_seeds` its seeds.
    """

    name: str
    axes: Mapping[str, str]
    control: Mapping[str, str]
    members: Sequence[Run]
    missing: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    asked_seeds: Sequence[int] = ()

    def cell(self, labels: Mapping[str, str]) -> str:
        """A cell's name as it is shown; a run of no axis goes by the study's name."""
        return ", ".join(f"{axis} = {labels[axis]}" for axis in self.axes) or self.name

    def short(self, cell: str) -> str:
        """A cell's axis values alone, to stand at a tick of an axis that is called `axis_title`."""
        return ", ".join(self.first[cell].labels.values()) or cell

    def named(self, cell: str) -> str:
        """A cell's name beside its numbers: with a warning if it leaks."""
        return f"{cell} ({labels.LEAKS})" if cell in self.leaking else cell

    def axis(self, path: str) -> str | None:
        """The name that the axis over a field is shown under, if there is one."""
        return next((name for name, field in self.axes.items() if field == path), None)

    @property
    def axis_title(self) -> str:
        return ", ".join(self.axes)

    @property
    def against(self) -> str:
        """What others are compared with, in the words of the control alone: `alpha = iid`."""
        return ", ".join(f"{axis} = {value}" for axis, value in self.control.items())

    @cached_property
    def first(self) -> dict[str, Run]:
        """One run of every cell: its first seed's."""
        found: dict[str, Run] = {}
        for run in self.members:
            found.setdefault(self.cell(run.labels), run)
        return found

    @cached_property
    def cells(self) -> list[str]:
        return list(self.first)

    @cached_property
    def controls(self) -> list[str]:
        """The cells that others are compared with."""
        chosen = [run for run in self.members if self.control and {**run.labels, **self.control} == dict(run.labels)]
        return list(dict.fromkeys(self.cell(run.labels) for run in chosen))

    @cached_property
    def leaking(self) -> list[str]:
        """The cells in which tokens saw later ones of their text, in training or in evaluation."""
        return list(dict.fromkeys(self.cell(run.labels) for run in self.members if labels.leaks(run.experiment)))

    @property
    def has_start(self) -> bool:
        """Whether some begin at an adapter (`lora.start`), not at the bare base."""
        return any(run.experiment.lora.start is not None for run in self.members)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.members})

    @cached_property
    def class_names(self) -> list[str]:
        """What the classes of texts are called, from the first to the last."""
        return labels.class_names([run.partition for run in self.members])

    @cached_property
    def feature(self) -> str:
        """What the classes are classes of, such as `length in characters`."""
        asked = [run.experiment.partition for run in self.members]
        return " or ".join(dict.fromkeys(labels.feature_text(each.by, each.residual_on) for each in asked))

    @property
    def classed(self) -> tuple[str, ...]:
        """A note on what the classes are, if there are any."""
        if self.class_names == ["all texts"]:
            return ()
        apart = "; runs cut them at different points" if self.class_names[0].startswith("class 1") else ""
        return (f"Classes are by {self.feature}{apart}.",)

    def frame(self, table: str) -> pd.DataFrame:
        """One of `cllora.measure.Tables` (curve, classes, ...) of all runs, stacked."""
        return self.stacked((run, getattr(run.tables, table)) for run in self.members)

    def stacked(self, tables: Iterable[tuple[Run, pd.DataFrame]]) -> pd.DataFrame:
        """Tables of runs, one below the other, the columns cell and seed put first."""
        parts = [
            part.assign(cell=self.cell(run.labels), seed=run.seed)[["cell", "seed", *part.columns]]
            for run, part in tables
        ]
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def probe(self, name: str) -> list[tuple[Run, pd.DataFrame]]:
        """The runs in which a probe measured something, each with its table."""
        measured = [(run, run.probes[name]) for run in self.members if name in run.probes]
        return [(run, table) for run, table in measured if len(table)]

    def costs(self) -> dict[Path, dict[str, Any]]:
        """Of the finished runs by their folders what `costs.json` holds."""
        paths = {run.folder: run.folder / "costs.json" for run in self.members if run.finished}
        return {folder: store.read_json(path) for folder, path in paths.items() if path.exists()}

    def final(self, table: str) -> pd.DataFrame:
        """`frame`, the last evaluated round only of each run that counts (see `counted`)."""
        rows = self.counted(self.frame(table))
        last: pd.DataFrame = rows[rows["round"] == rows.groupby(["cell", "seed"])["round"].transform("max")]
        return last

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of the runs that a cell's means are over: the finished ones, or if there are none all it has."""
        whole = self.outcomes["progress"] == "finished"
        counts = whole | ~whole.groupby(self.outcomes["cell"]).transform("any")
        wanted = pd.MultiIndex.from_frame(self.outcomes.loc[counts, ["cell", "seed"]])
        return rows[pd.MultiIndex.from_frame(rows[["cell", "seed"]]).isin(wanted)]

    @cached_property
    def results(self) -> pd.DataFrame:
        """`outcomes` of the runs that count (see `counted`): what means are taken of."""
        return self.counted(self.outcomes)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """A row per run: cell, the axes, seed, progress (`finished`, or the last round), its data's fingerprint, its
        outcomes, and how soon it was as good as its control (`cllora.measure.rounds_to_control`)."""
        found = pd.DataFrame(
            [
                {
                    "cell": self.cell(run.labels),
                    **run.labels,
                    "seed": run.seed,
                    "progress": "finished" if run.finished else f"round {run.outcome['rounds']}",
                    "fingerprint": run.fingerprint,
                    **run.outcome,
                }
                for run in self.members
            ]
        )
        curves = [run.tables.curve for run in self.members]
        return found.join(measure.rounds_to_control(found, curves, list(self.axes), self.control))

    @cached_property
    def signatures(self) -> pd.DataFrame:
        """What went wrong where, by `cllora.measure.signatures`: a row each, in the order of the runs and rounds.

        Columns cell, seed, signature, round, client (-1: it is of the whole run), size and said (in words).
        """
        rows = [
            (run, it.name, it.round, -1 if it.client is None else it.client, it.size, it.said)
            for run in self.members
            for it in measure.signatures(run.tables, run.rounds)
        ]
        of = [(self.cell(run.labels), run.seed, *rest) for run, *rest in rows]
        return pd.DataFrame(of, columns=["cell", "seed", "signature", "round", "client", "size", "said"])

    def to_compare(self, table: pd.DataFrame) -> pd.DataFrame:
        """Numbers by cell and seed, with what `contrasts` finds pairs by: the axes, progress and fingerprint."""
        return self.outcomes[["cell", *self.axes, "seed", "progress", "fingerprint"]].merge(table, on=["cell", "seed"])

    def contrasts(self, metric: str, outcomes: pd.DataFrame | None = None) -> pd.DataFrame:
        """`cllora.measure.contrasts` of one outcome, with the columns cell and control (names of cells) and
        against (what sets the control apart) before it.

        `outcomes` may be given to compare another number per run than those of `outcomes`. Of it, as of these, only
        the runs that count are compared, and none that leaks.
        """
        runs = self.results if outcomes is None else self.counted(outcomes)
        runs = runs[~runs["cell"].isin(self.leaking)]
        found = measure.contrasts(runs, list(self.axes), self.control, metric)
        labels = [dict(zip(self.axes, values, strict=True)) for values in found[list(self.axes)].to_numpy()]
        found.insert(0, "cell", [self.cell(each) for each in labels])
        found.insert(1, "control", [self.cell({**each, **self.control}) for each in labels])
        found.insert(2, "against", self.against)
        return found
