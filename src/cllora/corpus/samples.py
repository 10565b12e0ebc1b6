"""Texts to tokens, once: `load_samples` reads a source, tokenises it and keeps the result on disk."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from cllora.corpus.cache import cache_errors, new_folder, publish
from cllora.corpus.disk import SampleWriter, read_samples
from cllora.corpus.encode import Recipe, Sample, batches
from cllora.corpus.files import digest
from cllora.corpus.sources import Source, open_sources
from cllora.corpus.spoiling import Spool, spoiling_identity
from cllora.errors import UsageError, one_line
from cllora.places import cache_folder
from cllora.spec import DataSpec
from cllora.types import Samples, Tokenizer

FORMAT = 2
"""Goes up when the folder's layout changes, or what is made of the same rows."""

Progress = Callable[[int, int | None, str], None]
"""Called with rows read, rows in all where that is known, and what is being read."""


def load_samples(
    data: DataSpec, tokenizer: Tokenizer, *, cache: Path | None = None, progress: Progress | None = None
) -> Samples:
    """The samples that `data` asks for, read and tokenised, or found in the cache (`cache_folder()`).

    Rows keep the source's order. Those that cannot be used are dropped and counted in `Samples.dropped`; with
    `data.limit` the first so many usable ones are kept and reading ends there. Where `data.test` names a file or a
    split, its rows follow the others (without a limit) and `Samples.test` has their ids.

    An answer is joined to its text directly, so a space between them is for the template to give. The text is encoded
    with the tokenizer's special tokens, the answer without. `Samples.texts` has both; `Samples.columns` has every
    scalar column (str, int, float, bool) of the source but the one that `data.text` names.

    With `data.spoil` every training text has a spoiled form too. These follow all other samples, without columns;
    `Samples.trained_as` says which are used. They are the same at every share, and so are the cached files.

    `Samples.fingerprint` is the SHA-256 of tokens, offsets, prompts and where the test rows start: what was really
    used, wherever it came from.

    Raises:
        UsageError: the source is missing, broken or without usable rows, or the cache cannot be written.
    """
    recipe = Recipe.of(data)
    sources = open_sources(data)
    root = cache_folder() if cache is None else cache
    key = _key(data, tokenizer, sources)
    share = None if data.spoil is None else data.spoil.share
    if key is not None and (root / key).is_dir():
        return _read(root / key, share)
    with new_folder(root) as folder:
        _write(folder, data, recipe, tokenizer, sources, progress)
        place = root / (key or _content(folder))
        with cache_errors(root):
            publish(folder, place)
    return _read(place, share)


def _key(data: DataSpec, tokenizer: Tokenizer, sources: tuple[Source, Source | None]) -> str | None:
    """The name of the folder that holds what will be read; None where only reading tells."""
    train, test = sources
    if train.identity is None:
        return None
    parts = {
        "format": FORMAT,
        "train": train.identity,
        "test": test and test.identity,
        "data": data.model_dump(mode="json", include={"text", "answer", "loss_on", "limit"}),
        "tokenizer": [tokenizer.fingerprint, tokenizer.vocabulary],
    }
    spoiling = spoiling_identity(data)
    if spoiling is not None:
        parts["spoil"] = spoiling
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _write(
    folder: Path,
    data: DataSpec,
    recipe: Recipe,
    tokenizer: Tokenizer,
    sources: tuple[Source, Source | None],
    progress: Progress | None,
) -> None:
    """Read the sources and write their samples into `folder`."""
    train, test = sources
    dropped: Counter[str] = Counter()
    with cache_errors(folder.parent):
        writer = SampleWriter(folder, tokenizer.vocabulary, data.text)
        spool = None if data.spoil is None else Spool(folder)
    try:
        for samples in _samples(train, recipe, tokenizer, data.limit, dropped, progress):
            with cache_errors(folder.parent):
                writer.add(samples)
                if spool is not None:
                    spool.add(samples)
        test_start = None if test is None else writer.count
        for samples in () if test is None else _samples(test, recipe, tokenizer, None, dropped, progress):
            with cache_errors(folder.parent):
                writer.add(samples)
        with cache_errors(folder.parent):
            starts = None if spool is None else _add_forms(writer, spool, data, recipe, tokenizer, progress)
            writer.finish(test_start, dropped, starts)
    finally:
        with contextlib.suppress(OSError):  # what matters of it was raised above
            writer.close()
            if spool is not None:
                spool.close()


def _add_forms(
    writer: SampleWriter,
    spool: Spool,
    data: DataSpec,
    recipe: Recipe,
    tokenizer: Tokenizer,
    progress: Progress | None,
) -> list[float]:
    """Write the spoiled forms; the share from which on each is used."""
    assert data.spoil is not None
    starts: list[float] = []
    for samples, from_ in spool.forms(data.spoil, recipe, tokenizer):
        writer.add(samples)
        starts += from_
        if progress is not None:
            progress(len(starts), None, f"spoiling texts by {data.spoil.kind}")
    return starts


def _samples(
    source: Source,
    recipe: Recipe,
    tokenizer: Tokenizer,
    limit: int | None,
    dropped: Counter[str],
    progress: Progress | None,
) -> Iterator[list[Sample]]:
    """The source's samples by the batch, `limit` at most; rows that are none are counted into `dropped`."""
    read = used = 0
    reasons: Counter[str] = Counter()
    for rows in batches(source.rows()):
        if read == 0:
            recipe.check_columns(rows, source.name)
        samples: list[Sample] = []
        for result in recipe.encode(rows, tokenizer):
            if isinstance(result, str):
                reasons[result] += 1
                continue
            samples.append(result)
            if used + len(samples) == limit:
                break
        read, used = read + len(rows), used + len(samples)
        if progress is not None:
            progress(read, source.total, f"reading {source.name}")
        if samples:
            yield samples
        if used == limit:
            break
    if not used:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "it is empty"
        raise UsageError(f"{source.name} has no usable rows: {why}")
    dropped.update(reasons)


def _content(folder: Path) -> str:
    """A name that follows from what is in the folder's files."""
    digests = [f"{file.name} {digest(file)}" for file in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]


def _read(place: Path, share: float | None) -> Samples:
    try:
        return read_samples(place, share)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UsageError(
            f"the cached samples in {place} are damaged ({one_line(error)}); delete that folder"
        ) from error
