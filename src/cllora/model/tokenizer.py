"""A transformers tokenizer seen as a corpus needs it: ids for texts, and a fingerprint of what it does."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from cllora.errors import UsageError, one_line
from cllora.model.source import or_shipped, where_tokenizer


class ModelTokenizer:
    """The tokenizer of a model, with its own special tokens and without cutting."""

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        place = where_tokenizer(name)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"cannot load a tokenizer for model '{name}'{or_shipped(name)}"
            raise UsageError(f"{what}: {one_line(error)}") from None
        self.vocabulary: int = len(self._tokenizer)
        if self.vocabulary <= len(self._tokenizer.all_special_ids):
            raise UsageError(f"the model '{name}' comes with no tokenizer: its vocabulary is empty")
        self.fingerprint = _fingerprint(self._tokenizer)
        self._added: dict[int, Any] = self._tokenizer.added_tokens_decoder

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Token ids per text, uncut."""
        ids: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=special, return_attention_mask=False, verbose=False
        )["input_ids"]
        return ids

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
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = {} if backend is None else json.loads(backend.to_str())["decoder"] or {}
        return any(each["type"] == "ByteLevel" for each in [decoder, *decoder.get("decoders", [])] if each)


def _fingerprint(tokenizer: Any) -> str:
    """A hash of what the tokenizer does: its whole definition where it is a fast one, else class and vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    definition = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{definition}".encode()).hexdigest()[:16]
