"""Probes' tables in a run's folder.

    probes/passkey.parquet                               of a probe that measures at the end
    probes/update_geometry.parquet/round-00001.parquet   of one that measures after every round, a file each

Their first column is `round`, after which they were measured. What folders of 0.1.0 hold in place of `probes/` is read
as the same tables (`cllora.store.legacy`), also where such a run was gone on with.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cllora.errors import UsageError, one_line
from cllora.store.files import atomic_write
from cllora.store.folder import damage, part_name, read_rounds
from cllora.store.legacy import legacy_names, legacy_probe


def write_probe(folder: Path, name: str, number: int, table: pd.DataFrame, *, every_round: bool) -> None:
    """Put a probe's table, measured after round `number`, into a run's folder; with `every_round` beside the others.

    Raises:
        UsageError: a column holds what Parquet cannot.
    """
    path = folder / "probes" / f"{name}.parquet"
    path = path / part_name(number) if every_round else path
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = table.drop(columns="round", errors="ignore").reset_index(drop=True)
    columns.insert(0, "round", number)
    try:
        atomic_write(path, lambda partial: columns.to_parquet(partial, index=False))
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UsageError(f"probe '{name}': its table cannot be written: {one_line(error)}") from None


def probe_names(folder: Path) -> list[str]:
    """The probes of which a run's folder holds a table, sorted."""
    written = {path.name.removesuffix(".parquet") for path in (folder / "probes").glob("*.parquet")}
    return sorted(written | legacy_names(folder, read_rounds(folder)))


def read_probe(folder: Path, name: str) -> pd.DataFrame:
    """A probe's table, its column `round` first, of the rounds that are whole; without rows if there is none.

    Raises:
        UsageError: a file is damaged.
    """
    rounds, place = read_rounds(folder), folder / "probes" / f"{name}.parquet"
    paths = sorted(place.glob("round-*.parquet")) if place.is_dir() else [place] if place.is_file() else []
    with damage(place):
        tables = [pq.read_table(path) for path in paths]
        # Parts without rows say nothing of their columns' types.
        tables = [table for table in tables if len(table)] or tables[:1]
        written = [pa.concat_tables(tables, promote_options="permissive").to_pandas()] if tables else []
    earlier = [legacy_probe(folder, name, rounds)] if name in legacy_names(folder, rounds) else []
    both = [*earlier, *written]
    if not both:
        return pd.DataFrame({"round": []}, dtype=int)
    table = pd.concat(both, ignore_index=True)
    # A longer tail was cut off while being written.
    last = rounds[-1]["round"] if rounds else -1
    whole: pd.DataFrame = table[table["round"] <= last]
    return whole.reset_index(drop=True)


def read_probes_of(folder: Path, number: int) -> dict[str, pd.DataFrame]:
    """The probe tables of one round, by name."""
    tables = {}
    for place in sorted((folder / "probes").glob("*.parquet")):
        path = place / part_name(number) if place.is_dir() else place
        with damage(path):
            table = pd.read_parquet(path) if path.is_file() else pd.DataFrame({"round": []})
            if (table["round"] == number).any():
                tables[place.name.removesuffix(".parquet")] = table
    return tables


class ProbeTables(Mapping[str, pd.DataFrame]):
    """The tables of a run's probes by name, as `read_probe` gives them, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = probe_names(folder)
        self._tables: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._tables:
            self._tables[name] = read_probe(self._folder, name)
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
