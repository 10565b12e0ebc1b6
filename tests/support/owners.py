"""Whose the texts of a file are, as a run and as `cllora inspect` say it."""

from collections import Counter
from pathlib import Path

import numpy as np

from cllora.corpus import load_samples, owner_text
from cllora.partition import partitioners, pool_of
from cllora.runs.inspect import inspect
from cllora.seeds import rng
from cllora.spec import DataSpec, PartitionSpec
from support.corpus import ByteTokenizer


def natural_owners(path: Path | list[Path], tmp_path: Path, column: str = "owner", clients: int = 0) -> Counter[str]:
    """How many texts `natural` gives to whom, through the cache on disk."""
    places = [str(each) for each in path] if isinstance(path, list) else str(path)
    samples = load_samples(DataSpec(path=places), ByteTokenizer(), cache=tmp_path / "cache")
    ids = np.arange(len(samples))
    named = {name for name in (owner_text(value, column) for value in samples.columns[column]) if name}
    spec = PartitionSpec(scheme="natural", num_clients=clients or len(named), min_samples=1)
    pool = pool_of(spec, ids=ids, values=ids * 1.0, lengths=samples.lengths(), context=64, columns=samples.columns)
    deal = partitioners.bind("natural", {"column": column})(pool, rng(0, "natural"))
    return Counter(dict(zip(deal.names, deal.sizes().tolist(), strict=True)))


def inspected_owners(path: Path | list[Path], column: str = "owner") -> Counter[str]:
    """How many texts `cllora inspect` finds by whom."""
    found = inspect(path if isinstance(path, list) else [path], column=column)
    return Counter(dict(zip(found.names, found.texts.tolist(), strict=True)))
