"""Chats by a Jinja chat template: the text, its tokens, and which of them the assistant says."""

import datetime
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

from cllora.corpus.chats import Chat, EncodedChat
from cllora.corpus.encode import common_prefix
from cllora.corpus.weights import is_silent
from cllora.errors import UsageError, one_line
from cllora.model.chat_written import THOUGHT, Turns, Written, left_out
from cllora.model.libraries import StockTokenizer
from cllora.model.literal import ControlTokens, Placed, free_mark, placed

TODAY = datetime.date(2024, 7, 26)
"""The date for templates that ask for it, so that a chat is the same tomorrow: the day that Llama's assume."""

NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
LEFT_OUT = "the chat template leaves out"
REWRITTEN = "the chat template rewrites a turn of the assistant, so that its part cannot be told"
REFUSED = "refused by the chat template"

TOOL = {
    "type": "function",
    "function": {"name": "a", "description": "a", "parameters": {"type": "object", "properties": {}}},
}

Span = tuple[int, int]


class ChatWriter:
    """Writes chats by one template with one tokenizer.

    The template writes all special tokens, a text's first included, and what a turn says cannot write one: the tokens
    that a user's turn of the template is made of are text in whatever is said.
    """

    def __init__(self, tokenizer: StockTokenizer, template: str, special: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._template = NOW.sub(lambda match: repr(TODAY.strftime(match[2])), template)
        self._marked = bool(GENERATION.search(template))
        self._control = ControlTokens(tokenizer.backend_tokenizer, special)
        try:
            asked = [{"role": "user", "content": "a"}]
            # A template for chats with tools may need some.
            plain = self._render_or_none(asked, None) or self._render_or_none(asked, [TOOL]) or self._render(asked)
        except _failures() as error:
            raise UsageError(f"the chat template does not work with one turn of a user: {one_line(error)}") from None
        added = [token.content for token in tokenizer.added_tokens_decoder.values()]
        used = [name for name in added if name in plain]
        self._control = ControlTokens(tokenizer.backend_tokenizer, [*special, *used])
        self._seen = Written(self._render_or_none)

    @cached_property
    def has_system(self) -> bool:
        """Whether the template writes a system turn, also in a chat that ends with the assistant."""
        turns = [{"role": "system", "content": "SYSTEM"}, {"role": "user", "content": "a"}]
        try:
            return all(
                "SYSTEM" in self._render(chat) for chat in (turns, [*turns, {"role": "assistant", "content": "b"}])
            )
        except _failures():
            return False

    @cached_property
    def trains_to_stop(self) -> bool:
        """Whether the text that the template marks as generated ends with the token that closes a turn, or nothing is
        marked."""
        turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "ANSWER"})
        try:
            text, spans = self._written(turns, None, None, answers=True)
        except _failures():
            return True  # whatever is refused of such a chat is refused of each
        closing = [start for start, _ in self._control.spans(text) if start > text.rfind("ANSWER")]
        return not closing or any(start <= closing[0] < stop for start, stop in spans or [])

    @cached_property
    def closes_answers(self) -> bool:
        """Whether the template itself writes a control token after an answer."""
        turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "ANSWER"})
        try:
            return self._closes(self._render(turns), turns, None)
        except _failures():
            return False

    def encode(self, chat: Chat, answers: bool, end: str) -> EncodedChat | str:
        """A chat's text, tokens, and with `answers` the spans of tokens that the assistant says; or why there is none.

        These are what the template marks as generated, if it does; else, for every turn of the assistant, what follows
        the prompt for it, its closing token included. Of a chat that goes on from a prompt they are all that follows
        the prompt. Turns of weight 0 are no part of these; without `answers` the spans are all but those, and none at
        all where there is no such turn. The end-of-text token is put after a last turn that the template does not
        close: with `end` answer if it is the assistant's, with all whoever's it is, with none never.
        """
        texts = [*_texts(chat.turns), *_texts(chat.tools)]
        mark = free_mark(texts) if any(map(self._control.spans, texts)) else ""
        turns = cast(Turns, _broken(chat.turns, self._control, mark))
        tools = _broken(chat.tools, self._control, mark)
        try:
            text, spans = self._written(turns, tools, chat.completion, answers)
        except _failures() as error:
            return f"{REFUSED}: {one_line(error)}"
        lost = self._seen.lost(chat.turns, chat.tools) or left_out(turns, tools, text)
        if lost or spans is None:
            return f"{LEFT_OUT} {lost}" if lost else REWRITTEN
        clean, tokens = self._tokens(text, mark)
        if mark:
            spans = [(a - text.count(mark, 0, a), b - text.count(mark, 0, b)) for a, b in spans]
        placed_spans = [span for span in (_tokens_in(tokens, span) for span in spans) if span is not None]
        ids = list(tokens[0])
        answered, eos = chat.turns[-1]["role"] == "assistant", self._tokenizer.eos_token_id
        wanted = end == "all" or (end == "answer" and answered)
        if wanted and eos is not None and not self._closes(text, turns, tools):
            ids.append(eos)
            trained = not is_silent(turns[-1]) and (answered or not answers)
            placed_spans = (
                [*placed_spans[:-1], (placed_spans[-1][0], len(ids))] if placed_spans and trained else placed_spans
            )
        return EncodedChat(clean, ids, tuple(placed_spans))

    def _written(
        self, turns: Turns, tools: object, completion: int | None, answers: bool
    ) -> tuple[str, list[Span] | None]:
        """The text, and the places in it that carry loss; None if they cannot be told."""
        spoken = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
        silent = [number for number in spoken if number >= ((answers and completion) or 0) and is_silent(turns[number])]
        if answers and completion is None and not self._marked:
            text = self._render(turns, tools)
            return text, self._spans(text, turns, [number for number in spoken if number not in silent], tools)
        text, spans = self._all_written(turns, tools, completion, answers)
        without = self._spans(text, turns, silent, tools)
        if spans is None or without is None or not silent:
            return text, None if without is None else spans
        return text, _apart(spans or [(0, len(text))], without)

    def _all_written(
        self, turns: Turns, tools: object, completion: int | None, answers: bool
    ) -> tuple[str, list[Span] | None]:
        """The same with turns of weight 0, where turns are not looked at one by one; no places stand for all."""
        if answers and completion is None:
            return self._render_marked(turns, tools)
        text = self._render(turns, tools)
        if not answers or completion is None:
            return text, []
        start = self._start(text, turns[:completion], tools)
        return text, None if start is None else [(start, len(text))]

    def _spans(self, text: str, turns: Turns, numbers: Sequence[int], tools: object) -> list[Span] | None:
        """The places of some turns of the assistant; None if one cannot be told."""
        spans: list[Span] = []
        for number in numbers:
            start = self._start(text, turns[:number], tools)
            stop = None if start is None else self._stop(text, turns, number, tools)
            if start is None or stop is None:
                return None
            spans.append((start, stop))
        return spans

    def _start(self, text: str, before: Turns, tools: object) -> int | None:
        """The start of the assistant's answer after some turns: behind the template's prompt for it."""
        if not before:
            return self._first_start(text, tools)
        asked = self._render(before, tools, ask=True)
        if text.startswith(asked):
            return len(asked)
        # Some prompts already begin the answer, as with a thought, which is not there in a chat of the past.
        plain = self._render(before, tools)
        return _common(asked, text) if text.startswith(plain) else None

    def _first_start(self, text: str, tools: object) -> int | None:
        """The same for a chat that the assistant begins: after what the template writes before any of its answers."""
        chats = [self._render([{"role": "assistant", "content": content}], tools) for content in ("x", "y")]
        start = _common(*chats)
        return start if _common(chats[0], text) >= start else None

    def _stop(self, text: str, turns: Turns, number: int, tools: object) -> int | None:
        """The end of an answer, behind the tokens with which the template closes it."""
        if number + 1 == len(turns):
            return len(text)
        upto = turns[: number + 1]
        alone = self._render(upto, tools)
        if text.startswith(alone):
            return len(alone)
        # A template may write a chat's last turn otherwise than those before: what follows the content tells.
        own, closed = self._around(text, turns, number, tools), self._around(alone, upto, number, tools)
        if own is None or closed is None:
            return None
        shared = _common(closed[1], own[1])
        for whole, behind in ((text, own[1]), (alone, closed[1])):
            # A control token that only begins like the other's is no part of what they share.
            stop = len(whole) - len(behind) + shared
            shared -= next((stop - a for a, b in self._control.spans(whole) if a < stop < b), 0)
        return len(text) - len(own[1]) + shared

    def _around(self, text: str, turns: Turns, number: int, tools: object) -> tuple[str, str] | None:
        """The text of a chat before and behind a turn's content, which may occur in it elsewhere too: the part that
        stays as it is where the turn says another word. None if it says nothing, or the template writes more anew."""
        content = turns[number]["content"]
        thought = max((match.end() for match in THOUGHT.finditer(content)), default=0)
        if not content[thought:].strip():
            return None
        word = "zq"
        while word in text:
            word += "q"
        other = {**turns[number], "content": content[:thought] + word}
        written = self._render_or_none([*turns[:number], other, *turns[number + 1 :]], tools) or ""
        before, found_word, behind = written.partition(word)
        same = text.startswith(before) and text.endswith(behind) and len(before) + len(behind) <= len(text)
        return (before, behind) if found_word and same else None

    def _closes(self, text: str, turns: Turns, tools: object) -> bool:
        """Whether a control token follows the content of the last turn."""
        around = self._around(text, turns, len(turns) - 1, tools)
        if around is not None:
            return bool(self._control.spans(around[1]))
        controls = self._control.spans(text)
        return bool(controls) and not text[controls[-1][1] :].strip()

    def _tokens(self, text: str, mark: str) -> tuple[str, Placed]:
        """The text without marks, and its tokens."""
        if mark and mark in text:
            return self._control.encode_broken(text, mark)
        encoded = self._tokenizer(
            [text], add_special_tokens=False, split_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return text, placed(encoded.encodings[0])

    def _render(self, turns: Turns, tools: object = None, ask: bool = False) -> str:
        return self._rendered(turns, tools, add_generation_prompt=ask)[0]

    def _render_or_none(self, turns: Turns, tools: object) -> str | None:
        try:
            return self._render(turns, tools)
        except _failures():
            return None

    def _render_marked(self, turns: Turns, tools: object) -> tuple[str, list[Span]]:
        text, spans = self._rendered(turns, tools, return_assistant_tokens_mask=True)
        return text, [(start, stop) for start, stop in spans if stop > start]

    def _rendered(self, turns: Turns, tools: object, **how: bool) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        given = [dict(turn) for turn in turns]
        names = self._tokenizer.special_tokens_map
        texts, spans = render_jinja_template(
            conversations=[given], tools=tools, chat_template=self._template, **how, **names
        )
        return texts[0], spans[0] if spans else []


def _failures() -> tuple[type[Exception], ...]:
    """The exceptions of a template that refuses a chat, or stumbles over it."""
    from jinja2.exceptions import TemplateError

    return (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


def _tokens_in(tokens: Placed, span: Span) -> Span | None:
    """The tokens that have a part of a stretch of text; None if none has."""
    _, starts, stops = tokens
    within = ((stops > span[0]) & (starts < span[1])).nonzero()[0]
    return (int(within[0]), int(within[-1]) + 1) if len(within) else None


def _apart(spans: Sequence[Span], without: Sequence[Span]) -> list[Span]:
    """The rest of some spans of text without others."""
    for start, stop in without:
        pieces = [piece for a, b in spans for piece in ((a, min(b, start)), (max(a, stop), b))]
        spans = [(a, b) for a, b in pieces if a < b]
    return list(spans)


def _common(a: str, b: str) -> int:
    """The length of the common prefix of two texts."""
    return common_prefix(a, b)


def _texts(value: object) -> list[str]:
    """All texts in plain data, the names of fields included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.items() for part in item for text in _texts(part)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list | tuple) else []


def _broken(value: object, control: ControlTokens, mark: str) -> object:
    """Plain data with a mark in every control token that a text has, but for the names of fields and roles."""
    if isinstance(value, str):
        return control.broken(value, mark) if mark else value
    if isinstance(value, Mapping):
        return {key: held if key == "role" else _broken(held, control, mark) for key, held in value.items()}
    return [_broken(item, control, mark) for item in value] if isinstance(value, list | tuple) else value
