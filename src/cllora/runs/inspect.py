"""Owners' own files, read for what can be told of them without a model."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import ValidationError

from cllora.corpus import features, owner_text
from cllora.corpus.disk import ReadReport
from cllora.corpus.encode import batches
from cllora.corpus.files import short_name
from cllora.corpus.listing import list_files
from cllora.corpus.registry import Row
from cllora.corpus.samples import dropped_line, reasons_line
from cllora.corpus.sources import SPLITS, Source, files_source, path_source
from cllora.corpus.spoken import PlainTexts, plain_texts
from cllora.corpus.template import Reason, parse_template
from cllora.errors import UsageError
from cllora.partition.owners import Inspection, Owners, inspect_owners
from cllora.places import expanded
from cllora.registry import guess
from cllora.spec import Choice, read_setting
from cllora.spec.fields import alike
from cllora.types import Array, Ids, OnRead

log = logging.getLogger("cllora")

NO_OWNER = "no owner"
DEFAULT_BY = (Choice(name="length"),)


def inspect(
    files: Sequence[Path],
    *,
    column: str | None = None,
    text: str = "text",
    by: Sequence[Choice] = DEFAULT_BY,
    classes: int = 5,
    on_read: OnRead | None = None,
) -> Inspection:
    """Inspect owners: one file per owner, or files with a column that names the owner of every text.

    A file is of any kind that a study can read (a `.txt` has one text per line); a folder is one owner's files, and a
    `.txt` in it one text. A file without a usable text is left out, and warned of. With `column="file"` every file is
    an owner, those in folders too; with `column="folder"` every folder below the one that is named.

    Args:
        text: the column of the text, or a template over columns. Chats and instructions are recognised as in a study;
            the text of a chat is what is said in it, without a chat template.
        by: the features to compare owners by; features that need a model's tokens are refused.
        classes: into how many classes each feature is cut.

    Raises:
        UsageError: a file or column is missing or cannot be read, no file has a usable text, there is one owner only.
    """
    places = [place for file in files for place in _meant(file)]
    if column is None and len(places) == 1:
        raise _one_owner(places[0])
    asked = (*parse_template(text, "--text").columns, *(() if column is None else (column,)))
    reading = _Reading(text, column, on_read)
    for source, name in _sources(places, column, asked):
        reading.add(source, name)
        for note in source.notes():
            log.warning("%s", note)
    for reason in reading.without_texts if reading.texts else ():
        log.warning("%s, and is left out", reason)
    owners = reading.owners(by)
    if owners.dropped:
        log.warning("%s", dropped_line(owners.dropped, reading.report.examples))
    return inspect_owners(owners, classes)


def features_of(written: Sequence[str]) -> tuple[Choice, ...]:
    """The features asked for, as `mtld` or `{name: length, unit: words}`; length comes first unless it is among them.

    Raises:
        UsageError: it is neither, or there is no such feature or option.
    """
    chosen: list[Choice] = []
    for setting in written:
        value, _ = read_setting(setting, f"--by {setting}")
        try:
            choice = Choice.model_validate(value)
        except ValidationError:
            raise UsageError(
                f"--by takes a feature's name, or {{name: length, unit: words}} for its options, not '{setting}'"
            ) from None
        features.bind(choice.name, choice.options)
        if any(alike(choice.model_dump()) == alike(other.model_dump()) for other in chosen):
            raise UsageError(f"--by {setting} is given twice; give it once")
        chosen.append(choice)
    default = () if any(choice.name == "length" for choice in chosen) else DEFAULT_BY
    return tuple(dict.fromkeys((*default, *chosen)))


@dataclass(frozen=True)
class _TextsAlone:
    """The texts that a feature is given here in place of `TextRows`, all at once; any other attribute is missing."""

    feature: str
    texts: Sequence[str]
    ids: Ids

    @property
    def samples(self) -> "_TextsAlone":
        return self

    @property
    def originals(self) -> int:
        return len(self.texts)

    def once(self, key: str, compute: Callable[[], Array]) -> Array:
        return compute()

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError(
            f"feature '{self.feature}' with these options needs a model (for {name}), and this looks at texts alone; "
            "choose another with --by"
        )


def _values(choice: Choice, texts: Sequence[str]) -> Array:
    """A feature of all texts. Shape (len(texts),)."""
    view = _TextsAlone(choice.name, texts, np.arange(len(texts)))
    values = np.asarray(features.bind(choice.name, choice.options)(view), np.float64)
    if values.shape != (len(texts),) or not np.isfinite(values).all():
        raise UsageError(f"feature '{choice.name}' must give one finite number per text")
    return values


@dataclass
class _Reading:
    """The reader of rows, with the texts read so far and the number of each one's owner."""

    text: str
    column: str | None
    on_read: OnRead | None
    plain: PlainTexts | None = None
    number: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    report: ReadReport = field(default_factory=ReadReport)
    without_texts: list[str] = field(default_factory=list)

    def add(self, source: Source, name: str) -> None:
        """Read one file, or all of a folder."""
        read = used = 0
        reasons = ReadReport()
        for rows in batches(source.rows()):
            if read == 0:
                plain = self._plain(rows, source.name)
            for row in rows:
                text = plain.text(row)
                owner = name if self.column is None else owner_text(row.get(self.column), self.column)
                if isinstance(text, Reason) or not owner:
                    nobody = Reason(NO_OWNER, (self.column or "",), row.get(self.column or ""))
                    reasons.drop(text if isinstance(text, Reason) else nobody)
                    continue
                used += 1
                self.texts.append(text)
                self.owner.append(self.number.setdefault(owner, len(self.number)))
            read += len(rows)
            if self.on_read is not None:
                self.on_read(read, None, f"reading {source.name}")
        if not used:
            why = reasons_line(reasons.dropped, reasons.examples) or "it is empty"
            self.without_texts.append(f"{source.name} has no usable texts: {why}")
        self.report.add(reasons)

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
            dropped=self.report.dropped,
        )

    def _plain(self, rows: Sequence[Row], file: str) -> PlainTexts:
        """The reading of texts: chosen by the first file's first rows, against which those of others are checked."""
        if self.plain is None:
            self.plain, note = plain_texts(self.text, rows, file)
            if note:
                log.warning("%s (--text sets it otherwise)", note)
        self._check_columns(self.plain.columns, rows, file)
        return self.plain

    def _check_columns(self, columns: Sequence[str], rows: Sequence[Row], file: str) -> None:
        present = dict.fromkeys(name for row in rows for name in row)
        for name in columns:
            if name not in present:
                raise UsageError(f"--text: {file} has no column '{name}'; {guess(name, present)}")
        if self.column is not None and self.column not in present:
            raise UsageError(f"--column: {file} has no column '{self.column}'; {guess(self.column, present)}")


def _one_owner(file: Path) -> UsageError:
    """The error of a single file or folder without a column of owners."""
    if file.is_dir():
        return UsageError(f"{file} alone is one owner; name what is in it, such as {file}/*, or give --column file")
    columns = dict.fromkeys(name for row in next(batches(path_source([file], "FILE", ()).rows()), []) for name in row)
    return UsageError(
        f"{file} alone is one owner; name a file for every owner, or with --column the column that says whose each "
        f"text is (columns: {', '.join(columns) or 'none'})"
    )


def _meant(file: Path) -> list[Path]:
    """The file or folder, or all that a pattern stands for."""
    place = expanded(file)
    return [place] if place.exists() else [listed.file for listed in list_files([place], "FILE")]


def _sources(places: Sequence[Path], column: str | None, columns: Sequence[str]) -> list[tuple[Source, str]]:
    """The sources to read, each with its owner if no column names one."""
    twice = [place for place, count in Counter(places).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice")
    saved = [place for place in places if any((place / name).is_file() for name in ("state.json", SPLITS))]
    if column in ("file", "folder") and not saved:
        listed = list_files(places, "FILE")
        return [(files_source(", ".join(map(str, places)), listed, columns), "")]
    return [(path_source([place], "FILE", columns), name) for place, name in zip(places, _names(places), strict=True)]


def _names(places: Sequence[Path]) -> list[str]:
    """Every file's owner: its name without its endings, or its path where two would be called the same."""
    short = [place.name if place.is_dir() else short_name(place) for place in places]
    return short if len(set(short)) == len(short) else [str(place) for place in places]
