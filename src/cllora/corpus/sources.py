"""Where rows come from: a registered corpus, files, a saved dataset or the hub, all under one small shape."""

import glob
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cllora.corpus.files import ARROW_ROWS, READERS, digest, kind_of, parquet_rows, read_files
from cllora.corpus.registered import Row, corpora, versions
from cllora.errors import UsageError, one_line
from cllora.places import expanded
from cllora.registry import guess
from cllora.spec import Choice, DataSpec


@dataclass(frozen=True)
class Source:
    """Rows, and what tells them from all others.

    `name` is for messages. `identity` changes whenever the rows would; None where only reading them tells.
    `total` is the number of rows where it is known beforehand.
    """

    name: str
    identity: str | None
    total: int | None
    rows: Callable[[], Iterator[Row]]


def open_sources(data: DataSpec) -> tuple[Source, Source | None]:
    """What is trained on, and what is tested on if `data.test` names it.

    Raises:
        UsageError: there is no such corpus, file or dataset.
    """
    train, test = _sources(data)
    if test is not None and train.identity is not None and train.identity == test.identity:
        raise UsageError(f"data.test: '{data.test}' is what is trained on; name another, or give a share such as 0.1")
    return train, test


def _sources(data: DataSpec) -> tuple[Source, Source | None]:
    test = data.test if isinstance(data.test, str) else None
    place = expanded(data.path or "", "data.path: ")
    has_splits = data.hub is not None or (data.path is not None and (place / "dataset_dict.json").is_file())
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
        return _saved(place, data.split), None if test is None else _saved(place, test)
    return _path(place, "data.path"), None if test is None else _path(expanded(test, "data.test: "), "data.test")


def _corpus(choice: Choice) -> Source:
    read = corpora.bind(choice.name, choice.options)
    function = corpora.get(choice.name)

    def rows() -> Iterator[Row]:
        for row in read():
            if not isinstance(row, Mapping):
                raise UsageError(f"corpus '{choice.name}' must yield rows (dicts), not a {type(row).__name__}")
            yield row

    identity = None
    if choice.name in versions.names():
        looked_into = choice.options.keys() & versions.options(choice.name).keys()
        version = versions.bind(choice.name, {key: choice.options[key] for key in looked_into})()
        # The reader's own source is part of it: what is mended there must not be hidden by an old cache.
        code = digest(Path(inspect.getsourcefile(function) or ""))
        options = json.dumps(getattr(read, "keywords", {}), sort_keys=True, default=repr)
        identity = f"corpus {choice.name} {options} {version} {code}"
    return Source(f"corpus '{choice.name}'", identity, None, rows)


def _path(place: Path, field: str) -> Source:
    if (place / "state.json").is_file():
        return _saved(place, None)
    if place.is_dir():
        found = [(file, file.relative_to(place).as_posix()) for file in sorted(place.rglob("*.txt"))]
        if not found:
            raise UsageError(
                f"{field}: no .txt files in {place}; name other files with a glob, such as {place}/*.parquet"
            )
        return _many(place, found)
    if place.is_file():
        kind = kind_of(place)
        total = parquet_rows(place) if kind == ".parquet" else None
        return Source(str(place), f"file {kind} {digest(place)}", total, lambda: READERS[kind](place))
    if glob.has_magic(str(place)):
        names = [name for name in sorted(glob.glob(str(place), recursive=True)) if Path(name).is_file()]
        if names:
            return _many(place, [(Path(name), name) for name in names])
    raise UsageError(f"{field}: there is no file or folder {place}")


def _many(place: Path, files: list[tuple[Path, str]]) -> Source:
    lines = "\n".join(f"{kind_of(file)} {digest(file)} {name}" for file, name in files)
    identity = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    return Source(str(place), f"files {identity}", None, lambda: read_files(files))


def _saved(place: Path, split: str | None) -> Source:
    """A folder written by `save_to_disk`: one dataset, or one split of several."""
    folder = place
    if split is not None:
        splits = json.loads((place / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
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
    return Source(str(folder), f"saved {identity}", len(dataset), lambda: _dataset_rows(dataset))


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
    return Source(f"{label}[{split}]", f"hub {dataset._fingerprint}", len(dataset), lambda: _dataset_rows(dataset))


def _dataset_rows(dataset: Any) -> Iterator[Row]:
    # Arrow's own rows: whatever else the dataset has (images, audio) is not decoded.
    for table in dataset.with_format("arrow").iter(batch_size=ARROW_ROWS):
        yield from table.to_pylist()
