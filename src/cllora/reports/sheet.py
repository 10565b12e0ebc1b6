"""Tables that fit any terminal: no column vanishes, and rows that differ stay different."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from cllora.errors import visible

LEAST = 10
"""Columns that a row's name keeps, however narrow the terminal."""
DOTS = "…"
WHOLE = 100_000
"""Columns of what is no terminal: a console that says so (`whole`) has tables whole, and prose at its own width."""


def cut(text: str, width: int, head: int) -> str:
    """At most `width` columns of a text: `head` of its beginning, dots, and of its end what there is room for."""
    if cell_len(text) <= width:
        return text
    begin, end = _fitting(text, head), _fitting(text[::-1], width - 1 - head)[::-1]
    return f"{begin}{DOTS}{end}"


def _fitting(text: str, width: int) -> str:
    """The longest beginning of at most `width` columns; a wide character takes two."""
    taken = 0
    for i, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:i]
    return text


def cut_apart(names: Sequence[str], width: int) -> list[str]:
    """Names cut in the middle to `width` columns, at the place nearest to it where different ones stay different.

    Those that no such cut can tell apart are left whole.
    """
    different = len(set(names))
    middle = (width - 1) // 2
    best: list[str] = list(names)
    most = 0
    for head in sorted(range(width), key=lambda h: abs(h - middle)):
        found = [cut(name, width, head) for name in names]
        if len(set(found)) > most:
            best, most = found, len(set(found))
        if most == different:
            return best
    whole: dict[str, set[str]] = {}
    for name, short in zip(names, best, strict=True):
        whole.setdefault(short, set()).add(name)
    return [name if len(whole[short]) > 1 else short for name, short in zip(names, best, strict=True)]


class Sheet:
    """A table whose first column says which row it is. Where it is too wide, that column is cut (or, if it is of
    words, wrapped); where that is not enough, the other columns go below each other, each part with the first.

    Args:
        headings: of the columns.
        rows: a cell for each; text is shown as it is, whatever brackets or control characters it holds.
        widest: columns that the first takes at most, on any terminal.
        words: whether the first is of words, to be wrapped, rather than of names.
        left: the numbers of columns that stand left, and may be folded.
        bold: whether names are.
    """

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str | Text]],
        *,
        widest: int | None = None,
        words: bool = False,
        caption: str | None = None,
        left: Sequence[int] = (),
        bold: bool = False,
    ) -> None:
        self.headings = headings
        self.rows = [[cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row] for row in rows]
        self.words = words
        self.caption = caption
        self.left = left
        self.bold = bold
        names = [row[0].plain for row in self.rows]
        if widest is not None and not words:
            self._rename(cut_apart(names, widest))
        self.widest = widest

    def _rename(self, names: Sequence[str]) -> None:
        for row, name in zip(self.rows, names, strict=True):
            if row[0].plain != name:
                row[0] = Text(name)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        every = list(range(1, len(self.headings)))
        width = options.max_width
        natural = max(cell_len(name) for name in (self.headings[0], *(row[0].plain for row in self.rows)))
        if self.widest is not None:
            natural = min(natural, self.widest)
        too_wide = self._width(console, options, every, natural) - width
        if getattr(console, "whole", False) and not self.words:
            yield from console.render(self._table(every, natural, self.caption), options.update(max_width=WHOLE))
            return
        if too_wide <= 0:
            yield self._table(every, natural, self.caption)
            return
        if natural - too_wide >= min(natural, LEAST):
            yield self._table(every, natural - too_wide, self.caption)
            return
        name = min(natural, max(LEAST, width // 3))
        for part in self._parts(console, options, every, name):
            yield self._table(part, name, None, narrow=True)
        if self.caption:
            yield Text(self.caption, style="table.caption")

    def _parts(
        self, console: Console, options: ConsoleOptions, columns: Sequence[int], name: int
    ) -> Iterator[list[int]]:
        part: list[int] = []
        for column in columns:
            if part and self._width(console, options, [*part, column], name, narrow=True) > options.max_width:
                yield part
                part = []
            part.append(column)
        yield part

    def _width(
        self, console: Console, options: ConsoleOptions, columns: Sequence[int], name: int, narrow: bool = False
    ) -> int:
        table = self._table(columns, name, None, narrow=narrow)
        return console.measure(table, options=options.update(max_width=WHOLE)).maximum

    def _table(self, columns: Sequence[int], name: int, caption: str | None, narrow: bool = False) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left", pad_edge=not narrow)
        table.caption = None if caption is None else Text(caption)
        width = max(name, 1)
        style = "bold" if self.bold else None
        table.add_column(Text(self.headings[0]), style=style, overflow="fold", max_width=width)
        longest = max(cell_len(row[0].plain) for row in self.rows) if self.rows else 1
        table.columns[0].min_width = min(width, max(longest, cell_len(self.headings[0])))
        for column in columns:
            table.add_column(
                Text(self.headings[column]),
                justify="left" if column in self.left else "right",
                overflow="fold",
                no_wrap=column not in self.left,
            )
        names = [row[0].plain for row in self.rows]
        short = names if self.words else cut_apart(names, width)
        for row, shown in zip(self.rows, short, strict=True):
            first = row[0] if shown == row[0].plain else Text(shown)
            table.add_row(first, *(row[column] for column in columns))
        return table
