"""The environment of a study as a table: versions, hardware, data and base, in the words of a reader."""

from collections.abc import Iterator

import pandas as pd

from cllora.analysis.run import Run
from cllora.analysis.tables import Results
from cllora.types import DataRecord, Environment, Origin, to_plain


def environment(results: Results) -> pd.DataFrame:
    """The environment of all runs, a row for each record: what, value; of runs that differ in it all values."""
    recorded: dict[str, dict[str, None]] = {}
    for run in results.members:
        for name, value in _rows(run):
            recorded.setdefault(name, {})[value] = None
    rows = [(name, "; ".join(values)) for name, values in recorded.items()]
    return pd.DataFrame(rows, columns=["what", "value"])


def _rows(run: Run) -> Iterator[tuple[str, str]]:
    """The records of a run's environment.json, by name."""
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
    yield from ((name, value) for name, value in rows.items() if value)


def _base(origin: Origin | None) -> str:
    """The origin of a base from a GGUF file: its file and hash, its name, source and licence as the file says."""
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
