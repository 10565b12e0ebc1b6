"""The text of a row: a column as it is, or a template such as `Question: {question}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from cllora.errors import UsageError


@dataclass(frozen=True)
class Template:
    """Literal texts and column names, in turn. `plain` says that it is just the name of a column."""

    parts: tuple[tuple[str, str | None], ...]
    plain: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for _, column in self.parts if column is not None)

    def render(self, row: Mapping[str, object]) -> str | None:
        """The row's text; None if a column that it needs is missing or no text.

        A plain column must be text. A template also writes out numbers, and is empty when all its columns are.
        """
        if self.plain:
            value = row.get(self.columns[0])
            return value if isinstance(value, str) else None
        values = [row.get(column) for column in self.columns]
        if not all(isinstance(value, str | int | float) for value in values):
            return None
        if not any(str(value).strip() for value in values):
            return ""
        written = iter(values)
        return "".join(text + ("" if column is None else str(next(written))) for text, column in self.parts)


def parse_template(written: str, field: str) -> Template:
    """A template as the user wrote it in `field`; without braces it is the name of a column.

    Raises:
        UsageError: the braces are unbalanced, hold more than a name, or name nothing.
    """
    if "{" not in written and "}" not in written:
        return Template((("", written),), plain=True)
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
