"""A transformers tokenizer seen as a corpus needs it: ids for texts and chats, and a fingerprint of what it does."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cllora.corpus.chats import Chat, EncodedChat
from cllora.errors import UsageError, one_line
from cllora.model.chat_template import ChatWriter
from cllora.model.libraries import Backend, StockTokenizer
from cllora.model.literal import ControlTokens, untrimmed
from cllora.model.source import or_shipped, where_tokenizer


class ModelTokenizer:
    """The tokenizer of a model, with its own special tokens and without cutting; those in a text are text."""

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        place = where_tokenizer(name)
        try:
            self._tokenizer: StockTokenizer = AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"cannot load a tokenizer for model '{name}'{or_shipped(name)}"
            raise UsageError(f"{problem}: {one_line(error)}") from None
        self.vocabulary: int = len(self._tokenizer)
        if self.vocabulary <= len(self._tokenizer.all_special_ids):
            raise UsageError(f"the model '{name}' comes with no tokenizer: its vocabulary is empty")
        self.fingerprint = _fingerprint(self._tokenizer)
        self.end: int | None = self._tokenizer.eos_token_id
        self._added: dict[int, Backend] = self._tokenizer.added_tokens_decoder
        self._backend: Backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            untrimmed(self._backend)
            self._backend.no_truncation()
            self._backend.no_padding()

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Token ids per text, uncut."""
        if self._backend is not None and self._control.leak:
            return [ids for ids, _, _ in self._control.encode(texts, special)]
        ids: list[list[int]] = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return ids

    def encode_with_stops(self, texts: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]] | None:
        """Token ids per text, and where each ends in it (characters); None for a tokenizer that is not a fast one."""
        if self._backend is None:
            return None
        if self._control.leak:
            return [(ids, stops) for ids, _, stops in self._control.encode(texts, special=True)]
        encodings = self._tokenizer(
            list(texts), split_special_tokens=True, return_attention_mask=False, verbose=False
        ).encodings
        return [(encoding.ids, np.array(encoding.offsets, np.int64).reshape(-1, 2)[:, 1]) for encoding in encodings]

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's own chat template, the first of several; None if it has none."""
        template: str | dict[str, str] | None = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default") or next(iter(template.values()), None)
        return template or None

    def _for(self, chat: Chat, template: str) -> str:
        """The template for a chat: of several that the tokenizer has, that for tools is for chats with tools."""
        own: str | dict[str, str] | None = self._tokenizer.chat_template
        if isinstance(own, dict) and template == self.chat_template and chat.tools:
            return own.get("tool_use", template)
        return template

    def has_system(self, template: str) -> bool:
        """Whether a chat template has a place for a system turn."""
        return self._writer(template).has_system

    def trains_to_stop(self, template: str) -> bool:
        """Whether the token that closes a turn of the assistant is in the text that the template marks as generated."""
        return self._writer(template).trains_to_stop

    def closes_answers(self, template: str) -> bool:
        """Whether the template itself writes a control token after an answer."""
        return self._writer(template).closes_answers

    def encode_chats(self, chats: Sequence[Chat], template: str, *, answers: bool, end: str) -> list[EncodedChat | str]:
        """Every chat as the template writes it, or why it does not; see `ChatWriter`."""
        return [self._writer(self._for(chat, template)).encode(chat, answers, end) for chat in chats]

    def bytes_of(self, tokens: list[int], start: int) -> int:
        """Bytes (UTF-8) of the text that tokens from `start` on stand for; special tokens count as they are written.

        Where tokens are strings of bytes, as in byte-level BPE, exactly those, also if the last ends within a
        character. Elsewhere what all tokens decode to, less what those before `start` do.
        """
        if self._byte_level:
            words = zip(tokens[start:], self._tokenizer.convert_ids_to_tokens(tokens[start:]), strict=True)
            # Byte-level BPE writes each byte as one character; added tokens are written plainly.
            return sum(len(word.encode()) if token in self._added else len(word) for token, word in words)
        whole, before = (
            self._tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in (tokens, tokens[:start])
        )
        return len(whole.encode()) - len(before.encode())

    @cached_property
    def _byte_level(self) -> bool:
        """Whether tokens are strings of bytes."""
        decoder = {} if self._backend is None else json.loads(self._backend.to_str())["decoder"] or {}
        return any(step["type"] == "ByteLevel" for step in [decoder, *decoder.get("decoders", [])] if step)

    @cached_property
    def _control(self) -> ControlTokens:
        """The tokenizer's special tokens."""
        return ControlTokens(self._backend, self._special())

    def _special(self) -> list[str]:
        marked = [token.content for token in self._added.values() if token.special]
        return list(dict.fromkeys([*marked, *map(str, self._tokenizer.all_special_tokens)]))

    def _writer(self, template: str) -> ChatWriter:
        if self._backend is None:
            raise UsageError("chats need a fast tokenizer (tokenizer.json), and the model's is not one")
        if self._writers.get(template) is None:
            self._writers[template] = ChatWriter(self._tokenizer, template, self._special())
        return self._writers[template]

    @cached_property
    def _writers(self) -> dict[str, ChatWriter]:
        return {}


def _fingerprint(tokenizer: StockTokenizer) -> str:
    """A hash of the tokenizer: its whole definition where it is a fast one, else class and vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    definition = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    settings = [tokenizer.special_tokens_map, tokenizer.chat_template]
    if backend is None:
        settings.append({key: value for key, value in tokenizer.init_kwargs.items() if key != "name_or_path"})
    named = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{definition}\n{named}".encode()).hexdigest()[:16]
