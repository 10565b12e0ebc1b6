"""The files that a path means (a file, a folder of files, or a pattern of names), and their names."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cllora.corpus.files import READERS, ending_of
from cllora.errors import UsageError

log = logging.getLogger("cllora")


@dataclass(frozen=True)
class Listed:
    """A file that is read with others: `name` is its rows' column `file`, `whole` says that a `.txt` is one text."""

    file: Path
    name: str
    whole: bool

    @property
    def columns(self) -> dict[str, str]:
        """The columns that its rows have beside their own: `file`, and the `folder` that it is in, if there is one."""
        folder = self.name.rpartition("/")[0]
        return {"file": self.name, "folder": folder} if folder else {"file": self.name}


def list_files(places: Sequence[Path], field: str) -> list[Listed]:
    """All files that the paths mean, in their order, those of a folder or pattern by name.

    What exists is taken literally, whatever characters are in its name. A file is called by its name, or by its path
    below the folder or the pattern's beginning; where two would be called the same, all are called by their paths.

    Raises:
        UsageError: there is no such file or folder, a folder holds nothing to read, or a file is meant twice.
    """
    files = [listed for place in places for listed in _list(place, field)]
    seen: set[str] = set()
    for listed in files:
        place_of = os.path.realpath(listed.file)
        if place_of in seen:
            link = "" if place_of == os.path.abspath(listed.file) else f", as it is a link to {place_of}"
            raise UsageError(f"{field}: {listed.file} is given twice{link}")
        seen.add(place_of)
    if len({listed.name for listed in files}) < len(files):
        return [Listed(listed.file, listed.file.as_posix(), listed.whole) for listed in files]
    return files


def _list(place: Path, field: str) -> list[Listed]:
    if place.is_dir():
        files = _readable(place, _walk(place, field))
        if not files:
            raise UsageError(
                f"{field}: no .txt files in {place}, nor files of another kind that can be read ({', '.join(READERS)})"
            )
        return [Listed(file, file.relative_to(place).as_posix(), True) for file in files]
    if place.exists():
        return [Listed(place, place.name, False)]
    folder, pattern = _split(place)
    for glob_pattern in (pattern, pattern.replace("[", "[[]")):
        named = _matching(folder, Path(glob_pattern).parts) if glob.has_magic(glob_pattern) else ()
        files = sorted({file for file in named if file.is_file()})
        files = _visible(place, files)
        if files:
            return [Listed(file, file.relative_to(folder).as_posix(), True) for file in files]
    raise UsageError(f"{field}: there is no file or folder {place}")


def _split(place: Path) -> tuple[Path, str]:
    """The folder that a pattern begins with, which exists, and the rest of the pattern."""
    parts = place.parts
    for count in range(len(parts) - 1, 0, -1):
        folder = Path(*parts[:count])
        if folder.is_dir():
            return folder, os.path.join(*parts[count:])
    return Path(), str(place)


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The paths that a pattern matches below a folder; `**` is any folders, but those that a link leads back to."""
    if "**" not in parts:
        yield from (folder / name for name in glob.glob(os.path.join(*parts), root_dir=folder))
        return
    place = parts.index("**")
    starts = _matching(folder, parts[:place]) if place else (folder,)
    for start in starts:
        for below in _below(start, ()):
            yield from _matching(below, parts[place + 1 :] or ("*",))


def _below(folder: Path, within: Sequence[str]) -> Iterator[Path]:
    """A folder and all folders within it, hidden ones left out."""
    real = os.path.realpath(folder)
    if real in within or not os.path.isdir(real):
        return
    yield folder
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:  # as `glob`, which leaves out what may not be read
        return
    for name in names:
        yield from _below(folder / name, (*within, real))


def _walk(place: Path, field: str) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"{field}: cannot read {error.filename}: {error.strerror}") from None

    files = []
    for folder, folders, names in os.walk(place, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        files += [Path(folder, name) for name in names]
    return sorted(files)


def _visible(place: Path, files: Iterable[Path]) -> list[Path]:
    """The files that hold data; what systems and tools leave beside them is passed over with a word."""
    data: list[Path] = []
    passed_over: list[Path] = []
    for file in files:
        (passed_over if _is_hidden(file.name) else data).append(file)
    _say(place, passed_over)
    return data


def _readable(place: Path, files: Iterable[Path]) -> list[Path]:
    """The files whose names say that they can be read."""
    data: list[Path] = []
    passed_over: list[Path] = []
    for file in files:
        (data if ending_of(file) and not _is_hidden(file.name) else passed_over).append(file)
    _say(place, passed_over)
    kinds = Counter(sorted(map(ending_of, data)))
    if len(kinds) > 1:
        log.info("%s: reads %s", place, ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()))
    return data


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "." not in name) or name in ("Thumbs.db", "desktop.ini")


def _say(place: Path, passed_over: Sequence[Path]) -> None:
    if passed_over:
        names = sorted({file.name for file in passed_over})
        more = ", ..." if len(names) > 3 else ""
        log.info("%s: not read: %s%s", place, ", ".join(names[:3]), more)
