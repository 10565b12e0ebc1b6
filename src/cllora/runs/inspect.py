"""Owners' own files, read for what can be told of them without a model."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from cllora.corpus import features
from cllora.corpus.disk import Found
from cllora.corpus.encode import TextRecipe, batches
from cllora.corpus.files import READERS, kind_of, read_files
from cllora.corpus.registered import Row
from cllora.corpus.samples import told
from cllora.corpus.template import Reason, parse_template
from cllora.errors import UsageError
from cllora.partition.owners import Inspection, Owners, inspect_owners
from cllora.registry import guess
from cllora.spec import Choice
from cllora.types import Ids

log = logging.getLogger("cllora")

NO_OWNER = "no owner"
DEFAULT_BY = (Choice(name="length"),)
Array = NDArray[np.float64]
OnRows = Callable[[int, int | None, str], None]


def inspect(
    files: Sequence[Path],
    *,
    column: str | None = None,
    text: str = "text",
    by: Sequence[Choice] = DEFAULT_BY,
    classes: int = 5,
    on_rows: OnRows | None = None,
) -> Inspection:
    """What owners are like: one file per owner, or files with a column that names the owner of every text.

    A file is JSONL, CSV, Parquet or text (one text per line); a folder is one owner's `.txt` files, a text each. A file
    without a usable text is left out, and warned of.

    Args:
        text: the column of the text, or a template over columns.
        by: the features to compare owners by; features that need a model's tokens are refused.
        classes: into how many classes each feature is cut.

    Raises:
        UsageError: a file or column is missing or cannot be read, no file has a usable text, there is one owner only.
    """
    if column is None and len(files) == 1:
        raise _one_owner(files[0])
    reading = _Reading(TextRecipe(parse_template(text, "--text"), None, False), column, on_rows)
    for file, name in zip(files, _names(files), strict=True):
        reading.add(file, name)
    for reason in reading.without_texts if reading.texts else ():
        log.warning("%s, and is left out", reason)
    owners = reading.owners(by)
    if owners.dropped:
        reasons = told(owners.dropped, reading.found.examples)
        log.warning("%s rows cannot be used and were dropped: %s", f"{sum(owners.dropped.values()):,}", reasons)
    return inspect_owners(owners, classes)


def features_of(written: Sequence[str]) -> tuple[Choice, ...]:
    """The features asked for, as `mtld` or `{name: length, unit: words}`; length comes first unless it is among them.

    Raises:
        UsageError: it is neither, or there is no such feature or option.
    """
    chosen = []
    for each in written:
        try:
            choice = Choice.model_validate(yaml.safe_load(each))
        except (yaml.YAMLError, ValidationError):
            raise UsageError(
                f"--by takes a feature's name, or {{name: length, unit: words}} for its options, not '{each}'"
            ) from None
        features.bind(choice.name, choice.options)
        chosen.append(choice)
    default = () if any(choice.name == "length" for choice in chosen) else DEFAULT_BY
    return tuple(dict.fromkeys((*default, *chosen)))


@dataclass(frozen=True)
class _TextsAlone:
    """What a feature sees here in place of `TextRows`: all texts at once; whatever else it asks for, there is none."""

    feature: str
    texts: Sequence[str]
    ids: Ids

    @property
    def samples(self) -> "_TextsAlone":
        return self

    @property
    def originals(self) -> int:
        return len(self.texts)

    def once(self, what: str, compute: Callable[[], Array]) -> Array:
        return compute()

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            f"feature '{self.feature}' with these options needs a model (for {name}), and this looks at texts alone; "
            "choose another with --by"
        )


def _values(choice: Choice, texts: Sequence[str]) -> Array:
    """A feature of all texts. Shape (len(texts),)."""
    view = _TextsAlone(choice.name, texts, np.arange(len(texts)))
    found = np.asarray(features.bind(choice.name, choice.options)(view), np.float64)
    if found.shape != (len(texts),) or not np.isfinite(found).all():
        raise UsageError(f"feature '{choice.name}' must give one finite number per text")
    return found


@dataclass(frozen=True)
class _Reading:
    """How rows are read, and what was read so far: the texts, and of each the number of its owner."""

    recipe: TextRecipe
    column: str | None
    on_rows: OnRows | None
    number: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    found: Found = field(default_factory=Found)
    without_texts: list[str] = field(default_factory=list)

    def add(self, file: Path, name: str) -> None:
        """Read one file."""
        read = used = 0
        reasons = Found()
        for rows in batches(_rows(file)):
            if read == 0:
                self._check_columns(rows, file)
            for row in rows:
                found = self.recipe.parts(row)
                owner = name if self.column is None else owner_text(row.get(self.column))
                if isinstance(found, str) or not owner:
                    reasons.drop(
                        found
                        if isinstance(found, str)
                        else Reason(NO_OWNER, (self.column or "",), row.get(self.column or ""))
                    )
                    continue
                used += 1
                self.texts.append(found[0])
                self.owner.append(self.number.setdefault(owner, len(self.number)))
            read += len(rows)
            if self.on_rows is not None:
                self.on_rows(read, None, f"reading {file}")
        if not used:
            why = told(reasons.dropped, reasons.examples) or "it is empty"
            self.without_texts.append(f"{file} has no usable texts: {why}")
        self.found.add(reasons)

    def owners(self, by: Sequence[Choice]) -> Owners:
        """All that was read, if it is of two owners or more, with these features."""
        if not self.texts:
            raise UsageError(self.without_texts[0])
        if len(self.number) < 2:
            raise UsageError(f"all texts are of one owner, '{next(iter(self.number))}'; it takes two or more")
        return Owners(
            names=tuple(self.number),
            owner=np.array(self.owner, np.int64),
            characters=np.array([len(text) for text in self.texts], np.int64),
            values=tuple((choice, _values(choice, self.texts)) for choice in by),
            dropped=self.found.dropped,
        )

    def _check_columns(self, rows: Sequence[Row], file: Path) -> None:
        known = dict.fromkeys(name for row in rows for name in row)
        for name in self.recipe.text.columns:
            if name not in known:
                raise UsageError(f"--text: {file} has no column '{name}'; {guess(name, known)}")
        if self.column is not None and self.column not in known:
            raise UsageError(f"--column: {file} has no column '{self.column}'; {guess(self.column, known)}")


def _one_owner(file: Path) -> UsageError:
    """What to do about a single file or folder without a column of owners."""
    if file.is_dir():
        return UsageError(f"{file} alone is one owner; name what is in it, such as {file}/*")
    known = dict.fromkeys(name for row in next(batches(_rows(file)), []) for name in row)
    return UsageError(
        f"{file} alone is one owner; name a file for every owner, or with --column the column that says whose each "
        f"text is (columns: {', '.join(known) or 'none'})"
    )


def owner_text(value: object) -> str:
    """An owner's name as text; empty for none, blank and NaN."""
    return "" if value is None or value != value else str(value).strip()


def _rows(file: Path) -> Iterator[Row]:
    if file.is_dir():
        found = [(each, each.relative_to(file).as_posix()) for each in sorted(file.rglob("*.txt"))]
        if not found:
            raise UsageError(f"no .txt files in {file}; name files of other kinds one by one")
        return read_files(found)
    if not file.is_file():
        raise UsageError(f"there is no file or folder {file}")
    return READERS[kind_of(file)](file)


def _names(files: Sequence[Path]) -> list[str]:
    """Every file's owner: its name without its endings, or its path where two would be called the same."""
    twice = [file for file, count in Counter(files).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice")
    short = [file.name.removesuffix(".gz").rsplit(".", 1)[0] if not file.is_dir() else file.name for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]
