"""Texts to tokens, once: `load_samples` reads a source, tokenises it and keeps the result on disk."""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa

from cllora.corpus.cache import cache_errors, new_folder, publish
from cllora.corpus.corrupting import TextBuffer, corruption_identity
from cllora.corpus.disk import ReadReport, SampleWriter, read_samples
from cllora.corpus.encode import Recipe, Sample, TextRecipe, batches
from cllora.corpus.files import digest
from cllora.corpus.recipes import read_template, recipe_for
from cllora.corpus.registry import Row
from cllora.corpus.sources import Source, open_sources
from cllora.errors import UsageError, counted, one_line
from cllora.places import cache_folder
from cllora.spec import DataSpec
from cllora.types import OnRead, Samples, Tokenizer

FORMAT = 2
"""Goes up when the folder's layout changes, or what is made of the same rows."""


def load_samples(
    data: DataSpec, tokenizer: Tokenizer, *, cache: Path | None = None, progress: OnRead | None = None
) -> Samples:
    """The samples that `data` asks for, read and tokenised, or found in the cache (`cache_folder()`).

    Rows keep the source's order. Those that cannot be used are dropped and counted in `Samples.dropped`; with
    `data.limit` the first so many usable ones are kept and reading ends there. Where `data.test` names a file or a
    split, its rows follow the others (without a limit) and `Samples.test` has their ids.

    An answer is joined to its text directly, so a space between them is for the template to give. Both are encoded at
    once, with the tokenizer's special tokens, and end as `data.end` says. Where the source has chats, they are written
    by a chat template. `Samples.texts` has the whole; `Samples.columns` has every scalar column (str, int, float, bool)
    of the source but the one that `data.text` names.

    With `data.corrupt` every training text has a corrupted form too. These follow all other samples, without columns;
    `Samples.trained_as` says which are used. They are the same at every share, and so are the cached files.

    `Samples.fingerprint` is the SHA-256 of tokens, offsets, prompts, spans and where the test rows start: what was
    really used, wherever it came from.

    Raises:
        UsageError: the source is missing, broken or without usable rows, or the cache cannot be written.
    """
    reading = _Reading(data, tokenizer, progress)
    sources = open_sources(data)
    root = cache_folder() if cache is None else cache
    key = _key(data, tokenizer, sources)
    share = None if data.corrupt is None else data.corrupt.share
    if key is not None and (root / key).is_dir():
        return _read(root / key, share)
    with new_folder(root) as folder:
        _write(folder, reading, sources)
        place = root / (key or _content(folder))
        with cache_errors(root):
            publish(folder, place)
    return _read(place, share)


def _key(data: DataSpec, tokenizer: Tokenizer, sources: tuple[Source, Source | None]) -> str | None:
    """The name of the folder for the samples to be read; None where it follows from reading alone."""
    train, test = sources
    if train.identity is None:
        return None
    parts = {
        "format": FORMAT,
        "code": _code(),
        "train": train.identity,
        "test": test and test.identity,
        "data": data.model_dump(mode="json", include={"text", "answer", "loss_on", "limit"}),
        "end": data.end,
        "template": None if data.template is None else read_template(data.template),
        "tokenizer": [tokenizer.fingerprint, tokenizer.vocabulary],
    }
    identity = corruption_identity(data)
    if identity is not None:
        parts["corrupt"] = identity
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """The identity of the code that makes samples of rows: the files of this room, and the libraries."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    versions = [importlib.metadata.version(name) for name in ("cllora", "tokenizers", "transformers")]
    return f"{digest.hexdigest()[:16]} {' '.join(versions)}"


@dataclass
class _Reading:
    """The reading of sources; its recipe is chosen when the first rows are seen, and its report is kept."""

    data: DataSpec
    tokenizer: Tokenizer
    progress: OnRead | None
    report: ReadReport = field(default_factory=ReadReport)
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        TextRecipe.from_spec(self.data)  # what is wrong with the templates is said before anything is read

    def samples(self, source: Source, limit: int | None) -> Iterator[list[Sample]]:
        """The source's samples by the batch, `limit` at most; rows that are none are counted as dropped."""
        read = used = 0
        reasons = ReadReport()
        for rows in batches(source.rows()):
            samples: list[Sample] = []
            for result in self._recipe(rows, source.name, first=read == 0).encode(rows, self.tokenizer):
                if isinstance(result, str):
                    reasons.drop(result)
                    continue
                samples.append(result)
                if used + len(samples) == limit:
                    break
            read, used = read + len(rows), used + len(samples)
            if self.progress is not None:
                self.progress(read, source.total, f"reading {source.name}")
            if samples:
                yield samples
            if used == limit:
                break
        if not used:
            why = reasons_line(reasons.dropped, reasons.examples) or "it is empty"
            raise UsageError(f"{source.name} has no usable rows: {why}")
        self.report.add(reasons)
        self.report.notes += source.notes()

    def forms(self, buffer: TextBuffer, writer: SampleWriter) -> list[float]:
        """Write the corrupted forms; the share from which on each is used."""
        assert self.data.corrupt is not None
        assert self.recipe is not None
        starts: list[float] = []
        for samples, from_ in buffer.forms(self.data.corrupt, self.recipe, self.tokenizer):
            writer.add(samples)
            starts += from_
            if self.progress is not None:
                self.progress(len(starts), None, f"corrupting texts by {self.data.corrupt.kind}")
        return starts

    def _recipe(self, rows: Sequence[Row], name: str, first: bool) -> Recipe:
        if self.recipe is None:
            self.recipe, self.report.notes = recipe_for(self.data, rows, name, self.tokenizer)
        elif first:
            self.recipe.check_columns(rows, name)
        return self.recipe


def dropped_line(dropped: Mapping[str, int], examples: Mapping[str, str]) -> str:
    """A line that says how many rows were dropped, and why (`reasons_line`)."""
    number = sum(dropped.values())
    was = "was" if number == 1 else "were"
    return f"{counted(number, 'row')} cannot be used and {was} dropped: {reasons_line(dropped, examples)}"


def reasons_line(dropped: Mapping[str, int], examples: Mapping[str, str]) -> str:
    """The number of rows dropped for each reason, with an example."""
    shown = {reason: f", such as {examples[reason]}" if reason in examples else "" for reason in dropped}
    return "; ".join(f"{count:,} {reason}{shown[reason]}" for reason, count in dropped.items())


def _write(folder: Path, reading: _Reading, sources: tuple[Source, Source | None]) -> None:
    """Read the sources and write their samples into `folder`."""
    (train, test), data = sources, reading.data
    with cache_errors(folder.parent):
        writer = SampleWriter(folder, reading.tokenizer.vocabulary, data.text)
        buffer = None if data.corrupt is None else TextBuffer(folder)
    try:
        for samples in reading.samples(train, data.limit):
            with cache_errors(folder.parent):
                writer.add(samples)
                if buffer is not None:
                    buffer.add(samples)
        test_start = None if test is None else writer.count
        for samples in () if test is None else reading.samples(test, None):
            with cache_errors(folder.parent):
                writer.add(samples)
        with cache_errors(folder.parent):
            starts = None if buffer is None else reading.forms(buffer, writer)
            writer.finish(test_start, reading.report, starts)
    finally:
        with contextlib.suppress(OSError):  # what matters of it was raised above
            writer.close()
            if buffer is not None:
                buffer.close()


def _content(folder: Path) -> str:
    """A name that is a hash of the content of the folder's files."""
    digests = [f"{file.name} {digest(file)}" for file in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]


def _read(place: Path, share: float | None) -> Samples:
    try:
        return read_samples(place, share)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UsageError(
            f"the cached samples in {place} are damaged ({one_line(error)}); delete that folder"
        ) from error
