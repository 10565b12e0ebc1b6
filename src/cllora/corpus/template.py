"""The text of a row: a column as it is, or a template such as `Question: {question}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from cllora.corpus.values import is_one, plain, value_text
from cllora.errors import UsageError

NOT_TEXT = "not text"
NO_VALUE = "no value"
EMPTY = "empty"
SHOWN = 40
"""The number of a value's characters that are shown as an example."""


class Reason(str):
    """A reason why a row is dropped, with the column that it is for, and what one such row has there (`example`)."""

    example: str

    def __new__(cls, why: str, columns: tuple[str, ...] = (), value: object = None) -> "Reason":
        names = ", ".join(f"'{name}'" for name in columns)
        where = f" (column{'s' if len(columns) > 1 else ''} {names})" if columns else ""
        reason = super().__new__(cls, f"{why}{where}")
        reason.example = shown(value)
        return reason


def shown(value: object) -> str:
    """A value on one line, cut."""
    written = repr(value).encode("utf-8", "backslashreplace").decode()
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}…"


@dataclass(frozen=True)
class Template:
    """Literal texts and column names, in turn. `plain` says that it is just the name of a column."""

    parts: tuple[tuple[str, str | None], ...]
    plain: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for _, column in self.parts if column is not None)

    def render(self, row: Mapping[str, object]) -> str:
        """The row's text; a `Reason` if there is none.

        A plain column must be text. A template also writes out numbers, truth values (True and False), dates, decimals,
        UUIDs and whatever else is one value, leaves out what a row has no value for, and is no text where all its
        columns are blank.
        """
        if self.plain:
            value = row.get(self.columns[0])
            if isinstance(value, str):
                return value
            return Reason(NO_VALUE if missing(value) else NOT_TEXT, self.columns, value)
        values = {column: row.get(column) for column in self.columns}
        for column, value in values.items():
            if not is_one(value):
                return Reason(NOT_TEXT, (column,), value)
        written = {column: _written(value) for column, value in values.items()}
        if not any(text.strip() for text in written.values()):
            return Reason(EMPTY, tuple(values), next(iter(values.values())))
        return "".join(text + ("" if column is None else written[column]) for text, column in self.parts)


def _written(value: object) -> str:
    """A single value in a template; empty for none."""
    value = plain(value)
    # Numbers with a fraction stay as Python writes them, 1.0 included: a text is to be as its file has it.
    return str(value) if isinstance(value, float) and not missing(value) else value_text(value) or ""


def missing(value: object) -> bool:
    """Whether a row has no value: none, or NaN, which tables have in its place."""
    return value is None or (isinstance(value, float) and value != value)


def column_template(column: str) -> Template:
    """The template that is a column as it is."""
    return Template((("", column),), plain=True)


def parse_template(written: str, field: str) -> Template:
    """A template as the user wrote it in `field`; without braces it is the name of a column.

    Raises:
        UsageError: the braces are unbalanced, hold more than a name, or name nothing.
    """
    if "{" not in written and "}" not in written:
        return column_template(written)
    try:
        parts = list(Formatter().parse(written))
    except ValueError as error:
        raise UsageError(f"{field}: '{written}' is no template: {error}; write {{{{ and }}}} for braces") from None
    for _, column, spec, conversion in parts:
        if column is not None and (not column or spec or conversion):
            raise UsageError(f"{field}: '{written}' may hold column names in braces, such as {{question}}, only")
    if not any(column for _, column, _, _ in parts):
        raise UsageError(f"{field}: '{written}' names no column")
    return Template(tuple((text, column) for text, column, _, _ in parts), plain=False)
