"""Chats and instructions: which columns of a source are one, and the turns of a row in one form for all of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cllora.corpus.template import EMPTY, NOT_TEXT, Reason, missing
from cllora.corpus.weights import Turn, is_silent
from cllora.types import EndingTokenizer

ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt"),
    "system": ("system", "developer"),
    "tool": ("tool", "function", "ipython", "observation"),
}
"""The roles of a chat's turns, by the names that data sets give them."""

ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
CALLS = "tool_calls"
BESIDE = ("images", "image", "videos", "audios", "audio", "history")
"""Columns that chats may have beside their turns, and that are no text or further turns."""
NOT_A_CHAT = "no list of turns"
UNKNOWN_TURN = "a turn without role and content"
UNKNOWN_ROLE = "a turn of an unknown role"
EMPTY_TURN = "an empty turn"
PARTS = "a turn with parts that are no text"
NO_ASSISTANT = "no turn of the assistant"
NO_LOSS = "no turn that carries loss"


@dataclass(frozen=True)
class Chat:
    """The turns of a conversation as chat templates take them: each has `role` and `content`, and whatever else it had.

    `tools` are the functions that the assistant was told of. `completion` is the number of the turn with which the
    completion of a prompt begins, where that is how it was given.
    """

    turns: tuple[Turn, ...]
    tools: object = None
    completion: int | None = None

    def last_answer(self) -> int | None:
        """The number of the assistant's last turn that says something and carries loss."""
        spoken = [i for i, turn in enumerate(self.turns) if turn["role"] == "assistant" and not is_silent(turn)]
        with_text = [i for i in spoken if self.turns[i]["content"].strip()]
        return with_text[-1] if with_text else None

    @property
    def has_silent(self) -> bool:
        """Whether a turn of the assistant is context alone."""
        return any(turn["role"] == "assistant" and is_silent(turn) for turn in self.turns)

    def with_answer(self, content: str) -> "Chat":
        """The same with something else as the assistant's last answer."""
        turns, last = list(self.turns), self.last_answer()
        if last is not None:
            turns[last] = {**turns[last], "content": content}
        return Chat(tuple(turns), self.tools, self.completion)

    def without_system(self) -> "Chat":
        """The same with its system turn put before what the first user says, if there are both."""
        users = [i for i, turn in enumerate(self.turns) if turn["role"] == "user"]
        if self.turns[0]["role"] != "system" or not users:
            return self
        first, turns = users[0], list(self.turns)
        turns[first] = {**turns[first], "content": f"{turns[0]['content']}\n\n{turns[first]['content']}"}
        return Chat(tuple(turns[1:]), self.tools, None if self.completion is None else max(self.completion - 1, 0))

    def to_json(self) -> str:
        return json.dumps([self.turns, self.tools, self.completion], default=str)

    @classmethod
    def from_json(cls, text: str) -> "Chat":
        turns, tools, completion = json.loads(text)
        return cls(tuple(turns), tools, completion)


class EncodedChat(NamedTuple):
    """A chat as its template writes it: the text, its tokens, and the tokens that carry loss (first, and one after the
    last, of every part)."""

    text: str
    tokens: list[int]
    spans: tuple[tuple[int, int], ...]


class ChatTokenizer(EndingTokenizer, Protocol):
    """A tokenizer that can write chats."""

    chat_template: str | None

    def encode_chats(self, chats: Sequence[Chat], template: str, *, answers: bool, end: str) -> list[EncodedChat | str]:
        """Encode every chat by the template, or give the reason why it cannot be; with `answers` the parts that the
        assistant says. `end` says what gets an end where the template leaves it open: an `answer` that is last, `all`,
        or `none`."""
        ...

    def has_system(self, template: str) -> bool:
        """Whether the template has a place for a system turn."""
        ...

    def closes_answers(self, template: str) -> bool:
        """Whether the template itself writes a control token after an answer."""
        ...

    def trains_to_stop(self, template: str) -> bool:
        """Whether the token that closes a turn is among what the assistant says."""
        ...


@dataclass(frozen=True)
class Layout:
    """The layout of chats in rows: the columns that are read, its name, and the reader of a row."""

    columns: tuple[str, ...]
    name: str
    read: Callable[[Mapping[str, object]], Chat | Reason]
    instruction: bool = False


def recognised(rows: Sequence[Turn]) -> Layout | None:
    """The layout of a source whose columns have the names of one; None if there is none.

    A prompt and a completion that are texts are no chat (`text_pair`).
    """
    columns_there = dict.fromkeys(column for row in rows for column in row)
    for column in ("messages", "conversations"):
        if column in columns_there and any(turns_of(row.get(column)) for row in rows):
            return chat_column(column)
    if {"prompt", "completion"} <= columns_there.keys() and holds_chats(rows, "prompt", "completion"):
        return completion_columns("prompt", "completion")
    if {"instruction", "output"} <= columns_there.keys():
        columns = tuple(name for name in ("instruction", "input", "output") if name in columns_there)
        return Layout(columns, "instructions", _instruction, instruction=True)
    return None


def text_pair(rows: Sequence[Turn]) -> tuple[str, str] | None:
    """The columns of a prompt and its completion, where the source has them as texts."""
    columns = {column for row in rows for column in row}
    return ("prompt", "completion") if {"prompt", "completion"} <= columns else None


def holds_chats(rows: Sequence[Turn], *columns: str) -> bool:
    """Whether one of the columns holds lists of turns, as they are or as JSON with roles."""
    for row in rows:
        for turns in filter(None, (turns_of(row.get(column)) for column in columns)):
            if _named(turns) or not isinstance(row.get(columns[0]), str):
                return True
    return False


def _named(turns: Sequence[Turn]) -> bool:
    """Whether every turn says whose it is."""
    return all(turn.keys() & {"role", "from"} for turn in turns)


def chat_column(column: str) -> Layout:
    """Chats in one column; a system turn may stand in a column `system`, and tools in `tools`."""

    def read(row: Mapping[str, object]) -> Chat | Reason:
        turns_in_column = turns_of(row.get(column))
        if not turns_in_column:
            return Reason(NOT_A_CHAT, (column,), row.get(column))
        turns = _normal(turns_in_column, column)
        if isinstance(turns, Reason):
            return turns
        return _with_tools(turns, row)

    return Layout((column,), "chats", read)


def completion_columns(prompt: str, completion: str) -> Layout:
    """Chats in two columns, of which the second goes on from the first; a text is one turn."""

    def read(row: Mapping[str, object]) -> Chat | Reason:
        sides: list[tuple[Turn, ...]] = []
        for column, role in ((prompt, "user"), (completion, "assistant")):
            value = row.get(column)
            turns_in_column = turns_of(value)
            if isinstance(value, str) and not _named(turns_in_column or [{}]):
                turns_in_column = [{"role": role, "content": value}]
            if not turns_in_column:
                return Reason(NOT_A_CHAT, (column,), value)
            turns = _normal(turns_in_column, column)
            if isinstance(turns, Reason):
                return turns
            sides.append(turns)
        return _with_tools((*sides[0], *sides[1]), row, len(sides[0]))

    return Layout((prompt, completion), "chats that go on from a prompt", read)


def turns_of(value: object) -> list[Turn] | None:
    """The turns that a cell holds, also as JSON, as tables of text have them; None if it holds something else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        return None
    return list(value) if all(isinstance(turn, Mapping) for turn in value) else None


def _normal(turns: Sequence[Turn], column: str) -> tuple[Turn, ...] | Reason:
    """The turns under the roles that chat templates know, or the error in one."""
    normal = []
    for turn in turns:
        filled = {key: value for key, value in turn.items() if not missing(value)}
        written = filled.pop("from", None) if "role" not in filled else filled.pop("role")
        content = filled.pop("content", filled.pop("value", None))
        if not isinstance(written, str) or (content is None and not turn.keys() & {"content", "value", CALLS}):
            return Reason(UNKNOWN_TURN, (column,), dict(turn))
        role = ROLE_OF.get(written.strip().lower())
        if role is None:
            return Reason(UNKNOWN_ROLE, (column,), written)
        text = _text(content)
        if text is None:
            return Reason(PARTS, (column,), content)
        if "content" in turn and not missing(turn.get("value")) and not missing(turn.get("content")):
            return Reason("a turn with both content and value", (column,), dict(turn))
        if not text.strip() and not filled.get(CALLS):
            if role == "system":
                continue
            return Reason(f"{EMPTY_TURN} of {role}", (column,), dict(turn))
        normal.append({**filled, "role": role, "content": text})
    return tuple(normal) if normal else Reason(NOT_A_CHAT, (column,), turns)


def _text(content: object) -> str | None:
    """The text of a turn, from text, numbers, or a list of parts that are text; None if there is anything else."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        return None
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    kinds = [part.get("type", "text") if isinstance(part, Mapping) else "text" for part in content]
    if any(kind not in ("text", "input_text", "output_text") for kind in kinds):
        return None
    strings = [text for text in texts if isinstance(text, str)]
    return "".join(strings) if len(strings) == len(texts) else None


def _with_tools(turns: tuple[Turn, ...], row: Mapping[str, object], completion: int | None = None) -> Chat | Reason:
    """The chat with the tools of its row, which may be JSON."""
    beside = next((name for name in BESIDE if not missing(row.get(name)) and row.get(name)), None)
    if beside is not None:
        return Reason(f"{PARTS}, beside the chat", (beside,), row.get(beside))
    system = row.get("system")
    if not missing(system) and not isinstance(system, str):
        return Reason(NOT_TEXT, ("system",), system)
    if isinstance(system, str) and system.strip() and turns[0]["role"] == "system":
        if turns[0]["content"].strip() != system.strip():
            return Reason("another system turn than that of the chat", ("system",), system)
    elif isinstance(system, str) and system.strip():
        turns = ({"role": "system", "content": system}, *turns)
        completion = None if completion is None else completion + 1
    tools = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools or "null")
        except ValueError:
            return Reason("not JSON", ("tools",), tools)
    return Chat(turns, None if missing(tools) else tools or None, completion)


def _instruction(row: Mapping[str, object]) -> Chat | Reason:
    """An instruction with its input, which may be blank, and the output."""
    texts: dict[str, str] = {}
    for column in ("instruction", "input", "output"):
        value = row.get(column)
        if not missing(value) and not isinstance(value, str):
            return Reason(NOT_TEXT, (column,), value)
        texts[column] = "" if missing(value) else str(value)
    for column in ("instruction", "output"):
        if not texts[column].strip():
            return Reason(EMPTY, (column,), row.get(column))
    asked = [text for text in (texts["instruction"], texts["input"]) if text.strip()]
    turns = [{"role": "user", "content": "\n".join(asked)}, {"role": "assistant", "content": texts["output"]}]
    return _with_tools(tuple(turns), row)
