"""The parts of a chat that a template writes at all, seen from a chat of the same form that says other words."""

import json
import re
from collections.abc import Callable, Mapping, Sequence

from cllora.corpus.chats import CALLS
from cllora.corpus.weights import Turn

Turns = Sequence[Turn]
Render = Callable[[Turns, object], str | None]
"""The text of turns and tools by a template; None if it refuses them."""

THOUGHT = re.compile(r"<think>(.*?)</think>", re.S)
"""The assistant's thought, where it stands within its content."""
INLINE = "<think>"

THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thoughts", "thought")
"""The names of fields that hold the assistant's thought, where it stands beside its content."""


class Written:
    """The parts that one template writes, cached for all chats of the same roles and fields.

    What a turn says may stand in a chat's text because another turn says the same, and so may the name of a function.
    So everything that is said is replaced by a word of its own, and the template is asked for the text of that.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._lost_parts: dict[str, str] = {}

    def lost(self, turns: Turns, tools: object) -> str:
        """The first part of such a chat that the template does not write; empty if it writes all.

        A thought counts as written if it is where its turn is the last: templates leave out those of the past, as the
        models that they are of expect. Of a form that the template refuses with other words nothing is known.
        """
        form = _form(turns, tools)
        if form not in self._lost_parts:
            self._lost_parts[form] = self._lost(turns, tools)
        return self._lost_parts[form]

    def _lost(self, turns: Turns, tools: object) -> str:
        words = _Words()
        renamed_tools, of_tools = _renamed(tools, words)
        made: list[Turn] = []
        parts: list[tuple[str, str]] = []
        thought: list[Mapping[str, str]] = []
        for turn in turns:
            word_of_turn = words.new() if _unthought(turn) else ""
            calls, of_calls = _renamed(turn.get(CALLS), words, arguments=True)
            thoughts = {key: words.new() for key in _thoughts(turn)}
            fields = {key: word for key, word in thoughts.items() if key != INLINE}
            within = f"<think>\n{thoughts[INLINE]}\n</think>\n\n" if INLINE in thoughts else ""
            made.append(
                {**turn, "content": within + word_of_turn, **fields, **({CALLS: calls} if CALLS in turn else {})}
            )
            thought.append(thoughts)
            parts += [(word_of_turn, f"a turn of {turn['role']}")] * bool(word_of_turn.strip())
            parts += [(word, f"{turn['role']}'s calls") for word in of_calls]
        text = self._render(made, renamed_tools)
        if text is None:
            return ""
        lost = next((part for word, part in parts if word not in text), "")
        if lost or any(word not in text for word in of_tools):
            return lost or "tools"
        return self._lost_thought(made, renamed_tools, thought)

    def _lost_thought(self, made: Turns, tools: object, thought: Sequence[Mapping[str, str]]) -> str:
        thinking = [number for number, turn in enumerate(made) if turn["role"] == "assistant" and thought[number]]
        if not thinking:
            return ""
        last = thinking[-1]
        text = self._render(made[: last + 1], tools)
        # The same thought under two names is written once.
        unseen = text is not None and not any(word in text for word in thought[last].values())
        return f"assistant's {next(iter(thought[last]))}" if unseen else ""


def left_out(turns: Turns, tools: object, text: str) -> str:
    """The first part of a chat that its text lacks; empty if it has all."""
    place = 0
    for turn in turns:
        # Templates leave out what the assistant thought in earlier turns, as the models that they are of expect.
        content = _unthought(turn)
        written = (content, json.dumps(content, ensure_ascii=False)[1:-1], json.dumps(content)[1:-1])
        ends = [at + len(form) for form in written if (at := text.find(form, place)) >= 0]
        if not ends:
            return f"a turn of {turn['role']}"
        place = min(ends)
        if not all(name in text for name in _called(turn.get(CALLS) or ())):
            return f"{turn['role']}'s calls"
    if tools and not any(name in text for name in _called(tools)):
        return "tools"
    return ""


def _called(functions: object) -> list[str]:
    """The names of functions, as calls and as tools give them."""
    several = functions if isinstance(functions, list | tuple) else [functions]
    inner = [function.get("function", function) for function in several if isinstance(function, Mapping)]
    return [str(function["name"]) for function in inner if isinstance(function, Mapping) and function.get("name")]


class _Words:
    """Placeholder words that occur in no chat and not in each other, short since a template may cut long texts."""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return f"zq{self._count}x"


def _thoughts(turn: Turn) -> list[str]:
    """The fields of a turn's thoughts, and `<think>` within what the assistant says."""
    fields = [name for name in THOUGHTS if isinstance(turn.get(name), str) and turn[name].strip()]
    inline = turn["role"] == "assistant" and any(thought.strip() for thought in THOUGHT.findall(turn["content"]))
    return [*fields, INLINE] if inline else fields


def _unthought(turn: Turn) -> str:
    """The content of a turn, without the assistant's thoughts."""
    content: str = turn["content"]
    return (THOUGHT.sub("", content) if turn["role"] == "assistant" else content).strip()


def _renamed(functions: object, words: _Words, arguments: bool = False) -> tuple[object, list[str]]:
    """Functions under other names, with `arguments` of other texts, and the words that they then have."""
    if not isinstance(functions, list | tuple):
        return functions, []
    made, used = [], []
    for function in functions:
        inner = function.get("function", function) if isinstance(function, Mapping) else None
        if not isinstance(inner, Mapping) or not inner.get("name"):
            made.append(function)
            continue
        used.append(words.new())
        new = {**inner, "name": used[-1]}
        if arguments:
            new["arguments"] = _replaced(inner.get("arguments"), words, used)
            new = new if "arguments" in inner else {key: new[key] for key in inner}
        made.append({**function, "function": new} if "function" in function else new)
    return made, used


def _replaced(arguments: object, words: _Words, used: list[str]) -> object:
    """A call's arguments, as fields or as JSON, with other words for the texts in them."""
    if isinstance(arguments, str):
        try:
            fields = json.loads(arguments)
        except ValueError:
            return arguments
        return json.dumps(_replaced(fields, words, used)) if isinstance(fields, Mapping) else arguments
    if not isinstance(arguments, Mapping):
        return arguments
    texts = {key: words.new() for key, value in arguments.items() if isinstance(value, str)}
    used += texts.values()
    return {**arguments, **texts}


def _form(turns: Turns, tools: object) -> str:
    """The form of chats of which a template writes the same parts: roles, fields, and which of them are empty."""
    present = [[bool(_unthought(turn)), INLINE in _thoughts(turn)] for turn in turns]
    return json.dumps([present, _shape(turns), _shape(tools)], default=str)


def _shape(value: object, key: str = "") -> object:
    if isinstance(value, str):
        # Templates ask for roles and types, and whether something is said at all.
        return value if key in ("role", "type") else bool(value.strip())
    if isinstance(value, Mapping):
        return {name: _shape(held, str(name)) for name, held in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list | tuple) else type(value).__name__
