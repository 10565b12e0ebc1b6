"""Texts of rows as a study reads them, where there is no model: of chats what is said, without a chat template."""

from collections.abc import Sequence
from dataclasses import dataclass

from cllora.corpus.chats import Layout
from cllora.corpus.encode import NOT_UNICODE, TextRecipe, invalid, valid_unicode
from cllora.corpus.recipes import read_as
from cllora.corpus.registry import Row
from cllora.corpus.template import EMPTY, Reason
from cllora.spec import DataSpec


@dataclass(frozen=True)
class PlainTexts:
    """The plain texts of rows: as a study's recipe has them, or of a `Layout` of chats the turns' texts, one below the
    other."""

    recipe: TextRecipe | Layout

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        if isinstance(self.recipe, Layout):
            return self.recipe.columns
        answer = () if self.recipe.answer is None else self.recipe.answer.columns
        return (*self.recipe.text.columns, *answer)

    def text(self, row: Row) -> str:
        """The row's text with its answer, or the `Reason` why there is none."""
        if isinstance(self.recipe, Layout):
            return invalid(row) or _text_of_chat(self.recipe, row)
        parts = self.recipe.parts(row)
        return parts if isinstance(parts, str) else "".join(parts)


def _text_of_chat(layout: Layout, row: Row) -> str:
    chat = layout.read(row)
    if isinstance(chat, Reason):
        return chat
    text = "\n".join(turn["content"] for turn in chat.turns if turn["content"].strip())
    if not valid_unicode(text):
        return Reason(NOT_UNICODE, layout.columns, text)
    return text or Reason(EMPTY, layout.columns, text)


def plain_texts(text: str, rows: Sequence[Row], name: str) -> tuple[PlainTexts, str]:
    """The reading of rows such as these first ones of the source `name` where a study has `text` as its `data.text`;
    and a line that says so, where it is not what `text` says.

    Raises:
        UsageError: a column holds turns as Python prints them.
    """
    data = DataSpec(path=name, text=text)
    chosen, how = read_as(data, TextRecipe.from_spec(data), rows, name, has_template=False)
    plain = PlainTexts(chosen)
    if isinstance(chosen, Layout):
        columns = ", ".join(f"'{column}'" for column in chosen.columns)
        return plain, f"{name} is read as {chosen.name} (column {columns}): what is said, without a chat template"
    return plain, f"{name} is read as {how}" if how else ""
