"""The results of a study: all its runs as tidy tables, and every cell against its control."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from cllora import metrics as measured
from cllora import store
from cllora.analysis import names
from cllora.analysis.contrasts import LEVEL, Contrast, contrasts, typed
from cllora.analysis.pairing import control_values
from cllora.analysis.rows import described, with_registered, with_relative
from cllora.analysis.run import Run
from cllora.errors import UsageError
from cllora.metrics.signatures import signatures
from cllora.registry import guess
from cllora.spec import PRIMARY, Registration

ROUND = ("round", "global_loss", "global_loss_per_sample", "bytes_up", "bytes_down", "seconds")
ALONE = ("difference", "low", "high", "mean_difference", "mean_low", "mean_high", "above", "least", "most", "size")
SUMMARISED = (*ALONE, "p", "p_equivalent", "margin", "p_holm", "p_equivalent_holm", "needed", "needed_most", "answer")


@dataclass(frozen=True)
class Results:
    """All runs of a folder, as tables. A *cell* is a setting of the axes, the same over seeds, such as `alpha = 0.1`.

    Tables are of pandas, with a column `cell` and `seed` in front: `metrics` has a row per run, `contrasts(metric)` a
    row per cell that is compared with a control, `losses` the loss table of all runs, `rounds` a row per round,
    `clients` one per round and client, `partition` one per text and owner, `probe(name)` what a probe measured, and
    `frame(name)` losses by round, class or client.

    axes: the fields that differ between runs, by the name that they are shown under.
    control: the axis values that others are compared with (empty: there is none).
    members: the runs that hold a round; again: the controls that were drawn again (see `chance`), in no table.
    missing: the runs of the study that hold no round yet; failed: why some could not be finished.
    asked_seeds: the study's seeds.
    margin: the share of what training gains in a control below which a difference in loss counts as none.
    registration: what was registered before the study was run; all else is exploratory. None: nothing was.
    level: of intervals and tests: 95 %, or more where the study is looked at more than once (`cllora.stats.looks`).
    """

    name: str
    axes: Mapping[str, str]
    control: Mapping[str, str]
    members: Sequence[Run]
    again: Sequence[Run] = ()
    missing: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    asked_seeds: Sequence[int] = ()
    margin: float = measured.MARGIN
    level: float = LEVEL
    registration: Registration | None = None

    def cell(self, labels: Mapping[str, str]) -> str:
        """A cell's name as it is shown; a run of no axis goes by the study's name."""
        return ", ".join(f"{axis} = {labels[axis]}" for axis in self.axes) or self.name

    def short(self, cell: str) -> str:
        """A cell's axis values alone, to stand at a tick of an axis that is called `axis_title`."""
        return ", ".join(self.first[cell].labels.values()) or cell

    def named(self, cell: str) -> str:
        """A cell's name beside its numbers: with a warning if it leaks."""
        return f"{cell} ({names.LEAKS})" if cell in self.leaking else cell

    def axis(self, path: str) -> str | None:
        """The name that the axis over a field is shown under, if there is one."""
        return next((name for name, field in self.axes.items() if field == path), None)

    @property
    def axis_title(self) -> str:
        return ", ".join(self.axes)

    @property
    def against(self) -> str:
        """The control's name, in the words of the control alone: `alpha = iid`."""
        return ", ".join(f"{axis} = {value}" for axis, value in self.control.items())

    @cached_property
    def first(self) -> dict[str, Run]:
        """One run of every cell: its first seed's."""
        firsts: dict[str, Run] = {}
        for run in self.members:
            firsts.setdefault(self.cell(run.labels), run)
        return firsts

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
        return list(dict.fromkeys(self.cell(run.labels) for run in self.members if names.leaks(run.experiment)))

    @property
    def has_start(self) -> bool:
        """Whether some runs begin at an adapter, not at the bare base."""
        return any(run.experiment.lora.start is not None for run in self.members)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.members})

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the classes of texts, from the first to the last."""
        return names.class_names([run.partition for run in self.members])

    @cached_property
    def feature(self) -> str:
        """The feature whose classes they are, such as `length in characters`."""
        asked = [run.experiment.partition for run in self.members]
        return " or ".join(dict.fromkeys(names.feature_text(spec.by, spec.residual_on) for spec in asked))

    @property
    def classed(self) -> tuple[str, ...]:
        """A note on what the classes are, if there are any."""
        if self.class_names == ["all texts"]:
            return ()
        apart = "; runs cut them at different points" if self.class_names[0].startswith("class 1") else ""
        return (f"Classes are by {self.feature}{apart}.",)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per run: cell, the axes, seed, progress (`finished`, or the last round), the fingerprint of its data,
        that of which of its texts which client is tested on (`tests`), and every registered metric (`cllora list
        metrics`); NaN where something was not measured."""
        rows = [{"cell": self.cell(run.labels), **described(run), **run.outcome} for run in self.members]
        return with_relative(pd.DataFrame(rows), self.members, list(self.axes), self.control)

    @cached_property
    def averaged(self) -> pd.DataFrame:
        """`metrics` of the runs that means are taken of, see `counted`."""
        return self.counted(self.metrics)

    @cached_property
    def tested_alike(self) -> bool:
        """Whether all runs that are compared test their clients on the texts that their control does."""
        paired, alike = (
            control_values(self.averaged, list(self.axes), self.control, PRIMARY, same_tests=same).notna()
            for same in (False, True)
        )
        return bool((paired == alike).all())

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of the runs that a cell's means are over: the finished ones, or if there are none all it has."""
        whole = self.metrics["progress"] == "finished"
        counts = whole | ~whole.groupby(self.metrics["cell"]).transform("any")
        wanted = pd.MultiIndex.from_frame(self.metrics.loc[counts, ["cell", "seed"]])
        return rows[pd.MultiIndex.from_frame(rows[["cell", "seed"]]).isin(wanted)]

    def contrasts(self, metric: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
        """Every cell that is no control against its control, on one metric, paired by seed.

        Of the runs that count alone (see `counted`), and of no cell that leaks.

        Args:
            metric: a registered metric or, with `table`, any of its columns.
            table: other numbers by cell and seed, as `to_compare` makes them.

        Returns:
            A row per comparison; columns are the fields of `Contrast`, with the axes after `against`.
        """
        if table is None:
            if metric not in self._compared:
                self._compared[metric] = self._contrasts(metric, self.averaged)
            return self._compared[metric].copy(deep=False)
        return self._contrasts(metric, self.counted(table))

    @cached_property
    def _compared(self) -> dict[str, pd.DataFrame]:
        """`contrasts` of the metrics that were asked for already: sections ask for the same ones."""
        return {}

    def _contrasts(self, metric: str, rows: pd.DataFrame) -> pd.DataFrame:
        if metric not in rows:
            raise UsageError(f"there is no metric '{metric}'; {guess(metric, measured.metrics.names())}")
        counted = rows[~rows["cell"].isin(self.leaking)]
        asked = self.registration
        of_gain = metric in measured.metrics and measured.metrics.metric(metric).unit.of_gain
        margin = asked.margin if asked is not None and of_gain else None
        compared = contrasts(counted, list(self.axes), self.control, metric, margin, self.margin, self.level)
        labels = [dict(zip(self.axes, values, strict=True)) for values in compared[list(self.axes)].to_numpy()]
        compared.insert(0, "cell", [self.cell(values) for values in labels])
        compared.insert(1, "control", [self.cell({**values, **self.control}) for values in labels])
        compared.insert(2, "against", self.against)
        return compared if asked is None else with_registered(compared, metric, asked, self.first)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per cell and registered metric: cell, metric, mean and sd (divided by n - 1) over `seeds` runs, and its
        contrast with the control over `pairs` of runs: `SUMMARISED`, NaN where there is nothing to compare."""
        metrics = list(measured.metrics.names())
        of_cells = self.averaged.groupby("cell", sort=False)[metrics]
        own = {"mean": of_cells.mean(), "sd": of_cells.std(), "seeds": of_cells.count()}
        means = pd.DataFrame({name: table.T.stack() for name, table in own.items()})
        compared = [self.contrasts(name)[["cell", "metric", "control", "seeds", *SUMMARISED]] for name in metrics]
        pairs = pd.concat(compared, ignore_index=True).rename(columns={"seeds": "pairs"})
        table = means.rename_axis(["metric", "cell"]).reset_index().merge(pairs, on=["cell", "metric"], how="left")
        counted = table["pairs"].fillna(0).astype(int)
        return table[["cell", "metric", *own, "control", "pairs", *SUMMARISED]].assign(pairs=counted)

    def comparisons(self, metric: str) -> list[Contrast]:
        """`contrasts` as typed rows."""
        return typed(self.contrasts(metric))

    def to_compare(self, table: pd.DataFrame) -> pd.DataFrame:
        """Numbers by cell and seed, with the columns that `contrasts` needs beside them: axes, progress, fingerprint,
        tests, and what training changed, of which margins are a share."""
        pairing = ["cell", *self.axes, "seed", "progress", "fingerprint", "tests", "change"]
        return self.metrics[pairing].merge(table, on=["cell", "seed"])

    @property
    def losses(self) -> pd.DataFrame:
        """The loss table of all runs, read from disk: cell, seed, round, model, sample, nll (nats, summed), tokens."""
        return self.stacked((run, run.losses) for run in self.members)

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row per run and round: cell, seed, round, global_loss and global_loss_per_sample (nats per token; NaN in
        rounds that were not evaluated), bytes_up, bytes_down, seconds."""
        return self.stacked((run, pd.DataFrame(run.rounds).reindex(columns=ROUND)) for run in self.members)

    @cached_property
    def clients(self) -> pd.DataFrame:
        """A row per run, round and client trained in it: cell, seed, round, client, samples, tokens (predicted, over
        all epochs), steps, train_loss and local_loss (nats per token), bytes_up, bytes_down, seconds."""
        return self.stacked((run, run.clients) for run in self.members)

    @cached_property
    def partition(self) -> pd.DataFrame:
        """A row per run, text and owner: cell, seed, sample, client (-1: the global test set), role (`train` or
        `test`), class (-1 where there are no classes)."""
        return self.stacked((run, store.partition_table(run.partition).to_pandas()) for run in self.members)

    def frame(self, name: str) -> pd.DataFrame:
        """One of `cllora.metrics.Tables` of all runs: curve, classes, clients, gaps or personal."""
        return self.stacked((run, getattr(run.tables, name)) for run in self.members)

    def final(self, name: str) -> pd.DataFrame:
        """`frame`, the last evaluated round only of each run that counts (see `counted`)."""
        rows = self.counted(self.frame(name))
        last: pd.DataFrame = rows[rows["round"] == rows.groupby(["cell", "seed"])["round"].transform("max")]
        return last

    @cached_property
    def probes(self) -> list[str]:
        """The names of the probes that measured something in any run."""
        return [
            name for name in dict.fromkeys(name for run in self.members for name in run.probes) if self.measured(name)
        ]

    def measured(self, name: str) -> list[tuple[Run, pd.DataFrame]]:
        """The runs in which a probe measured something, each with its table."""
        tables = [(run, run.probe(name)) for run in self.members]
        return [(run, table) for run, table in tables if table is not None]

    def probe(self, name: str) -> pd.DataFrame:
        """The table of a probe, over all runs that have it: cell, seed, round (after which), and its own columns.

        Raises:
            UsageError: no run measured it.
        """
        if name not in self.probes:
            raise UsageError(f"no run measured the probe '{name}'; {guess(name, self.probes)}")
        return self.stacked(self.measured(name))

    def stacked(self, tables: Iterable[tuple[Run, pd.DataFrame]]) -> pd.DataFrame:
        """Tables of runs, one below the other, the columns cell and seed put first."""
        parts = [
            part.assign(cell=self.cell(run.labels), seed=run.seed)[["cell", "seed", *part.columns]]
            for run, part in tables
        ]
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    @cached_property
    def signatures(self) -> pd.DataFrame:
        """The failure signatures of runs, by `cllora.metrics.signatures`: a row each, in the order of the runs and
        rounds.

        Columns cell, seed, signature, round, client (-1: it is of the whole run), size and said (in words).
        """
        rows = [
            (run, mark.name, mark.round, -1 if mark.client is None else mark.client, mark.size, mark.sentence)
            for run in self.members
            for mark in signatures(run.tables, run.rounds)
        ]
        marks = [(self.cell(run.labels), run.seed, *rest) for run, *rest in rows]
        return pd.DataFrame(marks, columns=["cell", "seed", "signature", "round", "client", "size", "sentence"])
