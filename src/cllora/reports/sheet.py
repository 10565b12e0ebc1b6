"""Tables that fit any terminal: no column vanishes, and rows that differ stay different."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.cells import cell_len, chop_cells
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
    return f"{_beginning(text, head)}{DOTS}{_beginning(text[::-1], width - 1 - head)[::-1]}"


def _beginning(text: str, width: int) -> str:
    """The longest beginning of at most `width` columns; a wide character takes two."""
    return chop_cells(text, width)[0] if width else ""


def cut_apart(names: Sequence[str], width: int) -> list[str]:
    """Names cut in the middle to `width` columns, at the place nearest to it where different ones stay different.

    Those that no such cut can tell apart are left whole.
    """
    heads = sorted(range(width), key=lambda head: abs(head - (width - 1) // 2))
    cuts = [[cut(name, width, head) for name in names] for head in heads]
    best = max(cuts, key=lambda short: len(set(short)))
    alike = Counter(short for _, short in set(zip(names, best, strict=True)))
    return [name if alike[short] > 1 else short for name, short in zip(names, best, strict=True)]


class Sheet:
    """A table whose first column says which row it is. Where it is too wide, that column is cut (or, if it is of
    words, wrapped); where that is not enough, the other columns go below each other, each part with the first.

    Args:
        columns: the cells by heading; text is shown as it is, whatever brackets or control characters it holds.
        widest: columns of the terminal that the first takes at most.
        words: whether the first is of words, to be wrapped, rather than of names.
        left: the headings of columns that stand left, and may be folded.
        bold: whether names are.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[str | Text]],
        *,
        widest: int = WHOLE,
        words: bool = False,
        caption: str = "",
        left: Sequence[str] = (),
        bold: bool = False,
    ) -> None:
        self.columns = {heading: [_text(cell) for cell in cells] for heading, cells in columns.items()}
        self.heading, *self.others = columns
        self.words = words
        self.caption = caption
        self.left = left
        self.bold = bold
        longest = max(cell_len(text) for text in (self.heading, *(cell.plain for cell in self.columns[self.heading])))
        self.natural = min(widest, longest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if getattr(console, "whole", False) and not self.words:
            options = options.update(max_width=WHOLE)
        spare = options.max_width - self._width(console, self.others, self.natural)
        name = min(self.natural, self.natural + spare)
        if name >= min(self.natural, LEAST):
            yield from console.render(self._table(self.others, name, self.caption), options)
            return
        name = min(self.natural, max(LEAST, options.max_width // 3))
        for part in self._parts(console, name, options.max_width):
            yield self._table(part, name, narrow=True)
        if self.caption:
            yield Text(self.caption, style="table.caption")

    def _parts(self, console: Console, name: int, width: int) -> Iterator[list[str]]:
        part: list[str] = []
        for heading in self.others:
            if part and self._width(console, [*part, heading], name, narrow=True) > width:
                yield part
                part = []
            part.append(heading)
        yield part

    def _width(self, console: Console, headings: Sequence[str], name: int, narrow: bool = False) -> int:
        table = self._table(headings, name, narrow=narrow)
        return console.measure(table, options=console.options.update(max_width=WHOLE)).maximum

    def _table(self, headings: Sequence[str], name: int, caption: str = "", narrow: bool = False) -> Table:
        """A part of the columns beside the first, which takes `name` columns of the terminal."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left", pad_edge=not narrow)
        table.caption = Text(caption) if caption else None
        first = self.columns[self.heading]
        if not self.words:
            short = cut_apart([cell.plain for cell in first], name)
            first = [cell if text == cell.plain else Text(text) for cell, text in zip(first, short, strict=True)]
        style = "bold" if self.bold else None
        table.add_column(Text(self.heading), style=style, overflow="fold", max_width=name, min_width=name)
        for heading in headings:
            left = heading in self.left
            table.add_column(Text(heading), justify="left" if left else "right", overflow="fold", no_wrap=not left)
        for row in zip(first, *(self.columns[heading] for heading in headings), strict=True):
            table.add_row(*row)
        return table


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(visible(cell))
