"""Samples on disk: one folder, written piece by piece and mapped into memory when it is read.

meta.json       counts, types and the fingerprint
tokens.bin      all tokens, one sample after the other, little-endian uint16 or uint32
offsets.npy     int64, where each sample starts, and the end
prompts.npy     int32, per sample
spans.npy       int32 (M, 2), only where a sample carries loss elsewhere than from its prompt to its end
span_offsets.npy  int64, with it: where each sample's spans start, and the end
rows.arrow      Arrow IPC: the texts, then the source's scalar columns
starts.npy      float64, only where texts have corrupted forms: for each the share from which on it is used

Corrupted forms follow all other samples, in the order of the training texts that they are forms of.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cllora.corpus.columns import RowWriter, rounded_as
from cllora.corpus.encode import Sample
from cllora.places import to_disk
from cllora.types import Ids, Samples

Value = Any  # of the type that the column has


class Column(Sequence[Value]):
    """A column on disk as a sequence: an index gives a value, a slice a list."""

    def __init__(self, values: pa.ChunkedArray, kind: type[float] | None = None) -> None:
        self._values = values
        self._kind = kind

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        values = self._values[index]
        return self._converted(values.to_pylist()) if isinstance(index, slice) else self._converted([values.as_py()])[0]

    def __iter__(self) -> Iterator[Value]:
        for chunk in self._values.chunks:
            yield from self._converted(chunk.to_pylist())

    def _converted(self, values: list[Value]) -> list[Value]:
        convert = self._kind
        return values if convert is None else [None if value is None else convert(value) for value in values]


@dataclass
class ReadReport:
    """A report of the reading: the rows that were dropped, by reason, an example of each, and notes for the user."""

    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str) -> None:
        """Count a row that is no use; the first one's example is kept."""
        self.dropped[reason] += 1
        example = getattr(reason, "example", None)
        if example is not None:
            self.examples.setdefault(str(reason), example)

    def add(self, other: "ReadReport") -> None:
        """Add the dropped rows of another source."""
        self.dropped.update(other.dropped)
        self.examples = {**other.examples, **self.examples}


class Spans:
    """The parts of samples that carry loss, as `Samples.spans` has them, while samples are appended."""

    def __init__(self) -> None:
        self._spans: list[NDArray[np.int32]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._plain = True

    def add(self, samples: Sequence[Sample]) -> None:
        """Append the spans of some samples."""
        spans_of = [sample.spans or ((sample.prompt, len(sample.tokens)),) for sample in samples]
        self._plain &= all(not sample.spans for sample in samples)
        self._spans.append(np.array(list(chain.from_iterable(spans_of)), np.int32).reshape(-1, 2))
        self._counts.append(np.array([len(spans) for spans in spans_of], np.int64))

    def arrays(self) -> dict[str, NDArray[np.int32] | NDArray[np.int64]]:
        """`spans` (M, 2) and `span_offsets` (samples + 1,); nothing where all are from a prompt to the end."""
        if self._plain:
            return {}
        offsets = np.concatenate([[0], *self._counts]).cumsum(dtype=np.int64)
        return {"spans": np.concatenate(self._spans), "span_offsets": offsets}


class SampleWriter:
    """Appends samples to the files of a folder; what is in memory is eight bytes per sample."""

    def __init__(self, folder: Path, vocabulary: int, text_column: str | None) -> None:
        self._folder = folder
        self._dtype = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
        self._tokens = (folder / "tokens.bin").open("wb")
        self._rows = RowWriter(folder, without=text_column)
        self._lengths: list[NDArray[np.int32]] = []
        self._prompts: list[NDArray[np.int32]] = []
        self._spans = Spans()
        self._hash = hashlib.sha256(self._dtype.str.encode())
        self.count = 0

    def add(self, samples: Sequence[Sample]) -> None:
        """Append samples, in order."""
        lengths = np.array([len(sample.tokens) for sample in samples], np.int32)
        # NumPy raises OverflowError for a token that the type cannot hold.
        tokens = np.fromiter(chain.from_iterable(s.tokens for s in samples), self._dtype, int(lengths.sum()))
        self._tokens.write(tokens.data)
        self._hash.update(tokens.data)
        self._rows.add([sample.text for sample in samples], [sample.row for sample in samples])
        self._lengths.append(lengths)
        self._prompts.append(np.array([sample.prompt for sample in samples], np.int32))
        self._spans.add(samples)
        self.count += len(samples)

    def finish(self, test_start: int | None, report: ReadReport, starts: Sequence[float] | None = None) -> None:
        """Write the arrays over all samples, and flush all files to the disk; the last `len(starts)` are corrupted
        forms."""
        offsets = np.concatenate([[0], *self._lengths]).cumsum(dtype=np.int64)
        prompts = np.concatenate(self._prompts)
        np.save(self._folder / "offsets.npy", offsets)
        np.save(self._folder / "prompts.npy", prompts)
        self._rows.finish()
        self.close()
        for part in (offsets.data, prompts.data, str(test_start).encode()):
            self._hash.update(part)
        if starts is not None:
            np.save(self._folder / "starts.npy", np.array(starts, np.float64))
            self._hash.update(np.array(starts, "<f8").data)
        for name, array in self._spans.arrays().items():
            np.save(self._folder / f"{name}.npy", array)
            self._hash.update(array.data)
        meta = {
            "dtype": self._dtype.str,
            "tokens": int(offsets[-1]),
            "samples": self.count,
            "test_start": test_start,
            "corrupted_forms": 0 if starts is None else len(starts),
            "dropped": dict(report.dropped),
            "examples": report.examples,
            "notes": report.notes,
            "fingerprint": self._hash.hexdigest(),
        }
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")
        for file in self._folder.iterdir():
            to_disk(file)

    def close(self) -> None:
        """Close all files, finished or not."""
        self._tokens.close()
        self._rows.close()


def read_samples(folder: Path, share: float | None = None) -> Samples:
    """The samples of a finished folder, mapped, not read; `share` of the training texts in their corrupted form.

    Raises:
        OSError, ValueError: files are missing or cut short.
    """
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    tokens = np.memmap(folder / "tokens.bin", np.dtype(meta["dtype"]), mode="r")
    table = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()
    originals = meta["samples"] - meta.get("corrupted_forms", 0)
    spans, span_offsets = (
        np.load(file, mmap_mode="r") if (file := folder / f"{name}.npy").is_file() else None
        for name in ("spans", "span_offsets")
    )
    samples = Samples(
        texts=Column(table.column(0)),
        tokens=tokens,
        offsets=np.load(folder / "offsets.npy", mmap_mode="r"),
        prompts=np.load(folder / "prompts.npy", mmap_mode="r"),
        columns={
            field.name: Column(table.column(place), rounded_as(field))
            for place, field in enumerate(table.schema)
            if place > 0
        },
        fingerprint=meta["fingerprint"],
        test=None if meta["test_start"] is None else np.arange(meta["test_start"], originals, dtype=np.int64),
        dropped=meta["dropped"],
        trained_as=None if share is None else _trained_as(np.load(folder / "starts.npy"), share, originals),
        spans=spans,
        span_offsets=span_offsets,
        examples=meta["examples"],
        notes=tuple(meta["notes"]),
    )
    if len(tokens) != meta["tokens"] or not len(samples) == len(samples.texts) == meta["samples"]:
        raise ValueError("it is cut short")
    return samples


def _trained_as(starts: NDArray[np.float64], share: float, originals: int) -> Ids:
    """The id to train on in place of each sample: its corrupted form, if that is used from less than `share` on."""
    ids = np.arange(originals, dtype=np.int64)
    corrupted = np.flatnonzero(starts < share)
    ids[corrupted] = originals + corrupted
    return ids
