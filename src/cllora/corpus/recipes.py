"""Recipes that make samples of a source's rows, chosen by the study and by the first rows."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from cllora.corpus.chats import (
    BESIDE,
    NO_ASSISTANT,
    NO_LOSS,
    Chat,
    ChatTokenizer,
    EncodedChat,
    Layout,
    chat_column,
    completion_columns,
    holds_chats,
    recognised,
    text_pair,
)
from cllora.corpus.encode import (
    NOT_UNICODE,
    TOO_SHORT,
    Pair,
    Recipe,
    Sample,
    TextRecipe,
    ends_itself,
    invalid,
    valid_unicode,
)
from cllora.corpus.registry import Row
from cllora.corpus.template import Reason, column_template, missing, parse_template
from cllora.corpus.weights import unweighted
from cllora.errors import UsageError
from cllora.places import expanded
from cllora.registry import guess
from cllora.spec import DataSpec
from cllora.types import Tokenizer

PYTHON = re.compile(r"""\s*(array\()?\[\s*\{(?=.*(?<=[{ ])'(role|from)': ['"])'\w+': ['"]""", re.S)
"""A list of turns as Python prints it, or numpy."""


@dataclass(frozen=True)
class ChatRecipe:
    """A chat by a chat template; the loss is on all of it, or on the assistant's turns (`on_answer`)."""

    layout: Layout
    template: str
    on_answer: bool
    end: str
    system: bool
    answers: bool = True

    def check_columns(self, rows: Sequence[Row], name: str) -> None:
        columns = dict.fromkeys(column for row in rows for column in row)
        for column in self.layout.columns:
            if column not in columns:
                raise UsageError(f"data.text: {name} has no column '{column}'; {guess(column, columns)}")

    def encode(self, rows: Sequence[Row], tokenizer: ChatTokenizer) -> list[Sample | str]:
        chats = [invalid(row) or self._valid(self.layout.read(row)) for row in rows]
        return self._encode(chats, tokenizer, rows)

    def _valid(self, chat: Chat | Reason) -> Chat | Reason:
        if isinstance(chat, Reason):
            return chat
        if not valid_unicode(json.dumps([chat.turns, chat.tools], ensure_ascii=False, default=str)):
            return Reason(NOT_UNICODE, self.layout.columns, "a turn with half a character")
        for turn in chat.turns:
            if other := unweighted(turn, not self.on_answer):
                return Reason(f"{other}, where the loss would count it in full", self.layout.columns, dict(turn))
        return chat

    def encode_pairs(self, pairs: Sequence[Pair | str], tokenizer: ChatTokenizer) -> list[Sample | str]:
        chats = [
            Reason(pair) if isinstance(pair, str) else Chat.from_json(pair[0]).with_answer(pair[1]) for pair in pairs
        ]
        return self._encode(chats, tokenizer, [{}] * len(pairs))

    def _encode(
        self, chats: Sequence[Chat | Reason], tokenizer: ChatTokenizer, rows: Sequence[Row]
    ) -> list[Sample | str]:
        usable = [chat if self.system else chat.without_system() for chat in chats if isinstance(chat, Chat)]
        encoded = iter(tokenizer.encode_chats(usable, self.template, answers=self.on_answer, end=self.end))
        return [
            chat if isinstance(chat, Reason) else self._sample(row, chat, next(encoded))
            for row, chat in zip(rows, chats, strict=True)
        ]

    def _sample(self, row: Row, chat: Chat, encoded: EncodedChat | str) -> Sample | str:
        roles = " ".join(turn["role"] for turn in chat.turns)
        if isinstance(encoded, str):
            return Reason(encoded, self.layout.columns, roles)
        text, tokens, spans = encoded
        if not valid_unicode(text):
            return Reason(NOT_UNICODE, self.layout.columns, text)
        if len(tokens) < 2:
            return Reason(TOO_SHORT, self.layout.columns, text)
        limited = self.on_answer or chat.has_silent
        if limited and not spans:
            return Reason(NO_LOSS if chat.has_silent else NO_ASSISTANT, self.layout.columns, roles)
        last = chat.last_answer()
        answer = "" if last is None else chat.turns[last]["content"]
        plain = len(spans) == 1 and spans[0][1] == len(tokens)
        return Sample(
            row,
            text,
            tokens,
            spans[0][0] if spans else 0,
            answer,
            (chat.to_json(), answer),
            spans if limited and not plain else None,
        )


def recipe_for(data: DataSpec, rows: Sequence[Row], name: str, tokenizer: Tokenizer) -> tuple[Recipe, list[str]]:
    """The recipe that makes samples of rows such as these first ones of the source `name`, and notes on the choice.

    Raises:
        UsageError: a column that is asked for is not there, there are no answers to take the loss on, a chat has no
            template, or a text no end.
    """
    recipe, notes = _chosen(data, TextRecipe.from_spec(data), rows, name, tokenizer)
    if data.loss_on == "answer" and not recipe.answers:
        raise UsageError("data.loss_on: answer needs answers; name their column, or a template, as data.answer")
    if data.template is not None and not isinstance(recipe, ChatRecipe):
        raise UsageError(f"data.template is for chats, and {name} is read as texts; leave it out")
    if isinstance(recipe, TextRecipe) and recipe.ends and getattr(tokenizer, "end", None) is None:
        if data.end == "all":
            raise UsageError(
                "data.end: the model's tokenizer has no end-of-text token; leave data.end out, or set none"
            )
        notes.append("the model's tokenizer has no end-of-text token, so answers do not end with one")
    if isinstance(recipe, TextRecipe) and data.end == "answer" and not recipe.answers and ends_itself(tokenizer):
        notes.append("the model's tokenizer ends every text itself (data.end: none leaves its ends out)")
    recipe.check_columns(rows, name)
    return recipe, notes


def _chosen(
    data: DataSpec, recipe: TextRecipe, rows: Sequence[Row], name: str, tokenizer: Tokenizer
) -> tuple[Recipe, list[str]]:
    chosen, how = read_as(data, recipe, rows, name, _template(data, tokenizer) is not None)
    if isinstance(chosen, Layout):
        return _chat_recipe(data, chosen, name, tokenizer)
    if how:
        loss = "" if data.loss_on == "answer" else "; loss_on: answer takes the loss on answers alone"
        note = f"{name} is read as {how}{loss} (data.text and data.answer set it otherwise)"
        return chosen, [note, *_unread(rows, name)]
    other = recognised(rows) if data.text == "text" and data.answer is None else None
    if other is None or other.instruction:
        return chosen, []
    return chosen, [f"{name}: the texts are column 'text'; data.text: {other.columns[0]} would take chats"]


def read_as(
    data: DataSpec, recipe: TextRecipe, rows: Sequence[Row], name: str, has_template: bool
) -> tuple[Layout | TextRecipe, str]:
    """The reading of rows such as these first ones of the source `name`: chats, or texts and how they are read (empty:
    as the study says). Instructions are chats where there is a chat template (`has_template`).

    Raises:
        UsageError: a column holds turns as Python prints them.
    """
    columns = {column for row in rows for column in row}
    if recipe.text.plain and recipe.text.columns[0] in columns:
        (text,), answer = recipe.text.columns, recipe.answer
        if answer is not None and answer.plain and holds_chats(rows, text, *answer.columns):
            return completion_columns(text, *answer.columns), ""
        if answer is None and holds_chats(rows, text):
            return chat_column(text), ""
        _no_python(rows, (text, *(answer.columns if answer is not None and answer.plain else ())), name)
        return recipe, ""
    if data.text != "text" or data.answer is not None:
        return recipe, ""
    _no_python(rows, ("messages", "conversations", "prompt", "completion"), name)
    layout = recognised(rows)
    if layout is not None and (has_template or not layout.instruction):
        return layout, ""
    if layout is not None:
        *asked, answer_column = layout.columns
        written = "".join(f"{{{column}}}\n" for column in asked)
        pair = (parse_template(written, "data.text"), column_template(answer_column))
        how = f"the text {written!r} with column '{answer_column}' as the answer"
    elif (names := text_pair(rows)) is not None:
        pair = (column_template(names[0]), column_template(names[1]))
        how = f"column '{names[0]}' with column '{names[1]}' as the answer"
    else:
        return recipe, ""
    return TextRecipe(*pair, recipe.on_answer, recipe.end), how


def _unread(rows: Sequence[Row], name: str) -> list[str]:
    """A note where rows have columns beside a text and its answer that are not read."""
    beside = [column for column in ("system", "tools", *BESIDE) if any(not missing(row.get(column)) for row in rows)]
    if not beside:
        return []
    columns = ", ".join(f"'{column}'" for column in beside)
    return [f"{name}: column {columns} is no part of the texts; data.text takes it in as {{{beside[0]}}}"]


def _no_python(rows: Sequence[Row], columns: Sequence[str], name: str) -> None:
    """Refuse columns whose cells are lists of turns as Python prints them, which is no JSON."""
    for row in rows:
        for column in columns:
            value = row.get(column)
            if isinstance(value, str) and PYTHON.match(value):
                raise UsageError(
                    f"{name}: column '{column}' holds lists as Python prints them, such as {value[:40]}...; write "
                    "them as JSON (json.dumps), and they are read as chats"
                )


def _chat_recipe(data: DataSpec, layout: Layout, name: str, tokenizer: Tokenizer) -> tuple[Recipe, list[str]]:
    template = _template(data, tokenizer)
    columns = ", ".join(f"'{column}'" for column in layout.columns)
    if template is None:
        raise UsageError(
            f"{name} holds chats (column {columns}), and the model's tokenizer has no chat template; name a file with "
            "one as data.template, or a model that has one, or other columns as data.text"
        )
    writer = cast(ChatTokenizer, tokenizer)
    system = writer.has_system(template)
    loss = "the loss is on answers" if data.loss_on == "answer" else "loss_on: answer takes the loss on answers alone"
    source = "data.template" if data.template else "the tokenizer's chat template"
    notes = [f"{name} is read as {layout.name} (column {columns}), by {source}; {loss} (data.text sets it otherwise)"]
    if not system:
        notes.append("the chat template has no system turn: it is put before what the first user says")
    if data.end == "none" and writer.closes_answers(template):
        notes.append("data.end: none adds no end, but the chat template closes answers itself")
    if data.loss_on == "answer" and not writer.trains_to_stop(template):
        notes.append(
            "the chat template does not count the token that closes an answer as generated: models do not learn to stop"
        )
    return ChatRecipe(layout, template, data.loss_on == "answer", data.end, system), notes


def _template(data: DataSpec, tokenizer: Tokenizer) -> str | None:
    """The chat template: the file that `data.template` names, or the tokenizer's own; None if there is none."""
    if data.template is not None:
        return read_template(data.template)
    template: str | None = getattr(tokenizer, "chat_template", None)
    return template


def read_template(name: str) -> str:
    """The text of a file with a chat template.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return expanded(name, "data.template: ").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"data.template: cannot read {name}: {error}") from None
