"""Sources of rows: a registered corpus, files, a saved dataset or the hub, all under one small shape."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cllora.corpus.columnar import ARROW_ROWS, arrow_rows, parquet_rows
from cllora.corpus.encode import batches
from cllora.corpus.files import READER_VERSION, READERS, digest, kind_of, read_text
from cllora.corpus.json_rows import read_json
from cllora.corpus.listing import Listed, list_files
from cllora.corpus.registry import Row, corpora, version_of
from cllora.corpus.template import parse_template
from cllora.corpus.values import flat
from cllora.errors import UsageError, counted, one_line
from cllora.places import expanded
from cllora.registry import guess
from cllora.spec import Choice, DataSpec

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = "dataset_dict.json"
"""The file that tells a saved dataset with several splits."""


@dataclass(frozen=True)
class Source:
    """A source of rows, and its identity.

    `name` is for messages. `identity` changes whenever the rows would; None where only reading them tells.
    `total` is the number of rows where it is known beforehand. `notes` are what is to be said of the rows that were
    read.
    """

    name: str
    identity: str | None
    total: int | None
    rows: Callable[[], Iterator[Row]]
    notes: Callable[[], list[str]] = list


def open_sources(data: DataSpec) -> tuple[Source, Source | None]:
    """The source of training texts, and that of test texts if `data.test` names one.

    Raises:
        UsageError: there is no such corpus, file or dataset.
    """
    train, test = _sources(data)
    if test is not None and train.identity is not None and train.identity == test.identity:
        raise UsageError(f"data.test: '{data.test}' is what is trained on; name another, or give a share such as 0.1")
    return train, test


def _sources(data: DataSpec) -> tuple[Source, Source | None]:
    test = data.test if isinstance(data.test, str) else None
    places = [] if data.path is None else [expanded(path, "data.path: ") for path in as_paths(data.path)]
    with _readable("data.path"):
        has_splits = data.hub is not None or (len(places) == 1 and (places[0] / SPLITS).is_file())
    if not has_splits and data.split != "train":
        raise UsageError(f"data.split: only the hub and saved datasets have splits, so none named '{data.split}' here")
    if data.corpus is not None:
        if test is not None:
            raise UsageError(f"data.test: a corpus has no part named '{test}'; give a share of its rows, such as 0.1")
        return _corpus(data.corpus), None
    if data.hub is not None:
        train = _hub(data.hub, data.subset, data.split)
        return train, None if test is None else _hub(data.hub, data.subset, test)
    if has_splits:
        return _saved(places[0], data.split), None if test is None else _saved(places[0], test)
    columns = [name for written in (data.text, data.answer or "") for name in parse_template(written, "data").columns]
    train = path_source(places, "data.path", columns)
    return train, None if test is None else path_source([expanded(test, "data.test: ")], "data.test", columns)


def as_paths(path: str | Sequence[str]) -> tuple[str, ...]:
    """`DataSpec.path` as a sequence."""
    return (path,) if isinstance(path, str) else tuple(path)


def _corpus(choice: Choice) -> Source:
    read = corpora.bind(choice.name, choice.options)
    function = corpora.get(choice.name)

    def rows() -> Iterator[Row]:
        for row in read():
            if not isinstance(row, Mapping):
                raise UsageError(f"corpus '{choice.name}' must yield rows (dicts), not a {type(row).__name__}")
            yield flat(row)

    identity = None
    version_function = version_of(choice.name)
    if version_function is not None:
        looked_into = inspect.signature(version_function).parameters
        version = version_function(**{key: value for key, value in read.keywords.items() if key in looked_into})
        # The reader's own source is part of it: what is mended there must not be hidden by an old cache.
        code = digest(Path(inspect.getsourcefile(function) or ""))
        options = json.dumps(getattr(read, "keywords", {}), sort_keys=True, default=repr)
        identity = f"corpus {choice.name} {options} {version} {code}"
    return Source(f"corpus '{choice.name}'", identity, None, rows)


def path_source(places: Sequence[Path], field: str, columns: Sequence[str]) -> Source:
    """The rows of a file; or of several (a folder, a pattern, a list), each with the columns `file` and `folder`.

    Columns of these names in the data are left as they are. Of several files all have those of the `columns` that one
    has.

    Raises:
        UsageError: there is no such file or folder, or it cannot be told what one holds.
    """
    with _readable(field):
        for place in places:
            if (place / "state.json").is_file() and len(places) == 1:
                return _saved(place, None)
            if (place / "state.json").is_file() or (place / SPLITS).is_file():
                raise UsageError(f"{field}: {place} is a saved dataset; name one, or one split of it, alone")
        listed_files = list_files(places, field)
        if len(places) == 1 and places[0].is_file():
            return _file(listed_files[0].file, columns)
        return files_source(", ".join(map(str, places)), listed_files, columns)


@contextmanager
def _readable(field: str) -> Iterator[None]:
    """Turn a path that cannot be looked at (no permission, too long) into a line that says so."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{field}: cannot read {error.filename}: {error.strerror or one_line(error)}") from None


def files_source(name: str, files: Sequence[Listed], columns: Sequence[str]) -> Source:
    """The rows of several files, one after the other."""
    kinds = [kind_of(listed.file) for listed in files]
    # The folder does not matter; what a file is called there does.
    lines = "\n".join(
        f"{READER_VERSION} {kind} {digest(listed.file)} {listed.whole} {listed.name}"
        for listed, kind in zip(files, kinds, strict=True)
    )
    identity = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    whole = WholeFiles(name)
    return Source(
        name, f"files {identity}", None, lambda: _rows_of(files, kinds, _Columns(columns), whole), whole.notes
    )


def _file(file: Path, columns: Sequence[str]) -> Source:
    kind = kind_of(file)
    total = parquet_rows(file) if kind == ".parquet" else None
    identity = f"file {READER_VERSION} {kind} {digest(file)}"
    return Source(str(file), identity, total, lambda: map(flat, _reader(kind, columns)(file)))


def _reader(kind: str, columns: Sequence[str]) -> Callable[[Path], Iterator[Row]]:
    return partial(read_json, columns=columns) if kind == ".json" else READERS[kind]


@dataclass
class _Columns:
    """Holds the files of a source to have the same of the columns that are asked for."""

    asked: Sequence[str]
    before: tuple[Path, frozenset[str]] | None = None

    def check(self, rows: Sequence[Row], file: Path) -> None:
        """Hold a file's first rows against those of the first file."""
        columns = dict.fromkeys(name for row in rows for name in row)
        own = frozenset(name for name in self.asked if name in columns)
        if self.before is None:
            self.before = (file, own)
        other, theirs = self.before
        for lacking, has in ((file, theirs - own), (other, own - theirs)):
            if has:
                complete = other if lacking == file else file
                raise UsageError(f"{lacking} has no column '{min(has)}', which {complete} has; leave one of them out")


@dataclass
class WholeFiles:
    """Counts the `.txt` files of the source `name` that are one text each, and the lines in them that are not blank."""

    name: str
    first: Path | None = None
    texts: int = 0
    characters: int = 0
    lines: int = 0

    def read(self, file: Path) -> Iterator[Row]:
        """The file as one text."""
        for row in read_text(file):
            text = str(row["text"])
            self.first = self.first or file
            self.texts += 1
            self.characters += len(text)
            self.lines += sum(1 for line in text.split("\n") if line.strip())
            yield row

    def notes(self) -> list[str]:
        """A note on how they are read, where they might have been meant otherwise."""
        if self.lines <= self.texts:
            return []
        files = "1 .txt file is read as one text" if self.texts == 1 else f"{self.texts:,} .txt files are one text each"
        characters, lines = (round(total / self.texts) for total in (self.characters, self.lines))
        return [
            f"{self.name}: {files}, of {counted(characters, 'character')} and {counted(lines, 'line')} on average; for "
            f"a text per line name the files themselves (data.path: [{self.first}, ...])"
        ]


def _rows_of(files: Sequence[Listed], kinds: Sequence[str], columns: _Columns, whole: WholeFiles) -> Iterator[Row]:
    for listed, kind in zip(files, kinds, strict=True):
        read = whole.read if kind == ".txt" and listed.whole else _reader(kind, columns.asked)
        for number, rows in enumerate(batches(map(flat, read(listed.file)))):
            if number == 0:
                columns.check(rows, listed.file)
            for row in rows:
                yield {**row, **{name: value for name, value in listed.columns.items() if name not in row}}


def _saved(place: Path, split: str | None) -> Source:
    """A folder written by `save_to_disk`: one dataset, or one split of several."""
    folder = place
    if split is not None:
        splits = json.loads((place / SPLITS).read_text(encoding="utf-8"))["splits"]
        if split not in splits:
            raise UsageError(f"{place} has no split '{split}'; {guess(split, splits)}")
        folder = place / split
    import datasets

    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise UsageError(f"cannot read the dataset {folder}: {one_line(error)}") from error
    lines = "\n".join(f"{file.name} {digest(file)}" for file in sorted(folder.iterdir()) if file.is_file())
    identity = hashlib.sha256(lines.encode()).hexdigest()
    return Source(str(folder), f"saved {identity}", len(dataset), lambda: _dataset_rows(dataset, str(folder)))


def _hub(name: str, subset: str | None, split: str) -> Source:
    import datasets

    place = f"'{name}'" if subset is None else f"'{name}', subset '{subset}'"
    try:
        dataset = datasets.load_dataset(name, subset, split=split)
    except Exception as error:
        raise UsageError(
            f"data.hub: cannot load {place}, split '{split}' (data.subset names one of several configurations; without "
            f"a network, save the data set with save_to_disk and name the folder as data.path): {one_line(error)}"
        ) from error
    # The fingerprint follows from the files behind the dataset and what was done to them; a random one, which
    # datasets takes where it cannot tell, costs no more than reading anew.
    label = "/".join(part for part in (name, subset) if part)
    shown = f"{label}[{split}]"
    return Source(shown, f"hub {dataset._fingerprint}", len(dataset), lambda: _dataset_rows(dataset, shown))


def _dataset_rows(dataset: "Dataset", name: str) -> Iterator[Row]:
    # Arrow's own rows: whatever else the dataset has (images, audio) is not decoded.
    for table in dataset.with_format("arrow").iter(batch_size=ARROW_ROWS):
        yield from map(flat, arrow_rows(table, name))
