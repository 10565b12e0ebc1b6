"""A fast tokenizer with control tokens under other names, so that a text that looks like one is text."""

import json
import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.model.libraries import Backend

MARKS = "𐎀𐎁𐎂𐎃𐎄𐎅𐎆𐎇"
"""Letters (Ugaritic) that normalisers leave as they are; one that a text does not have marks what is told apart."""

BYTE = re.compile(r"<0x[0-9A-F]{2}>")

Placed = tuple[list[int], NDArray[np.int64], NDArray[np.int64]]
"""Token ids, and where in the text each starts and stops, in characters."""


class ControlTokens:
    """The tokens of a tokenizer that stand for no text (`names`), and texts in which their names are only names."""

    def __init__(self, backend: Backend, names: Sequence[str]) -> None:
        self._backend = backend
        # Bytes that a tokenizer falls back on are text, also where they are called special.
        of_text = (name for name in names if name and not BYTE.fullmatch(name))
        self.names = sorted(dict.fromkeys(of_text), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self.names)) or r"(?!)")
        self._renamed: dict[str, Backend] = {}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The spans of a text in which control tokens are written."""
        return [match.span() for match in self._pattern.finditer(text)]

    def broken(self, text: str, mark: str) -> str:
        """The text with a mark within every control token that is written in it."""
        while self._pattern.search(text):
            text = self._pattern.sub(lambda match: match[0][0] + mark + match[0][1:], text)
        return text

    @cached_property
    def leak(self) -> bool:
        """Whether a name becomes its token even where special tokens are split: the vocabulary has it as a word."""
        ids = {self._backend.token_to_id(name) for name in self.names} - {None}
        self._backend.encode_special_tokens = True
        probes = [probe for name in self.names for probe in (name, f"a {name} b", f"a{name}b")]
        return any(ids & set(e.ids) for e in self._backend.encode_batch(probes, add_special_tokens=False))

    def encode(self, texts: Sequence[str], special: bool) -> list[Placed]:
        """Texts in which no control token is meant."""
        mark = free_mark(texts)
        return [placed(encoded) for encoded in self._with(mark).encode_batch(list(texts), add_special_tokens=special)]

    def encode_broken(self, text: str, mark: str) -> tuple[str, Placed]:
        """A text as `broken` made parts of it: what is broken is text, and what is whole is a control token.

        Returns the text without marks, and its tokens.
        """
        other = free_mark([text], without=mark)
        written = self._pattern.sub(lambda match: other + match[0], text).replace(mark, "")
        ids, starts, stops = placed(self._with(other).encode(written, add_special_tokens=False))
        marks = np.array([i for i, letter in enumerate(written) if letter == other], np.int64)
        starts, stops = (places - np.searchsorted(marks, places) for places in (starts, stops))
        return written.replace(other, ""), (ids, starts, stops)

    def _with(self, mark: str) -> Backend:
        """The same tokenizer with a mark before the name of every control token."""
        if mark not in self._renamed:
            self._renamed[mark] = renamed(self._backend, {name: mark + name for name in self.names})
        return self._renamed[mark]


def free_mark(texts: Sequence[str], without: str = "") -> str:
    """A mark that the texts do not have.

    Raises:
        UsageError: they have all of them.
    """
    for mark in MARKS:
        if mark != without and not any(mark in text for text in texts):
            return mark
    raise UsageError(f"a text has special tokens and all the letters {' '.join(MARKS)}, which mark them; leave one out")


def placed(encoding: Backend) -> Placed:
    """The tokens of an encoding of tokenizers'."""
    places = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    return encoding.ids, places[:, 0], places[:, 1]


def renamed(backend: Backend, names: dict[str, str]) -> Backend:
    """A copy of a tokenizer in which some tokens have other names and the same ids.

    Raises:
        UsageError: the copy gives a token another id.
    """
    import tokenizers

    parts = json.loads(backend.to_str())
    for token in parts["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = parts["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = [[names.get(word, word), score] for word, score in model["vocab"]]
    else:
        model["vocab"] = {names.get(word, word): number for word, number in model["vocab"].items()}
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not _sides(pair) & names.keys()]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    copy = tokenizers.Tokenizer.from_str(json.dumps(parts))
    copy.encode_special_tokens = False
    for old, number in backend.get_vocab(with_added_tokens=True).items():
        if copy.token_to_id(names.get(old, old)) != number:
            raise UsageError(f"the model's tokenizer cannot tell its token '{old}' from a text that has it")
    return copy


def _sides(pair: str | Sequence[str]) -> set[str]:
    """The two words of a merge, and what they become."""
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return {left, right, left + right}


def untrimmed(backend: Backend) -> None:
    """Make a tokenizer tell where tokens lie with the white space that is theirs, as byte-level ones else do not."""
    import tokenizers

    processor = json.loads(backend.to_str())["post_processor"]
    parts = [] if processor is None else [processor, *processor.get("processors", [])]
    trimming = [part for part in parts if part.get("trim_offsets")]
    for part in trimming:
        part["trim_offsets"] = False
    if trimming:
        empty = tokenizers.Tokenizer(tokenizers.models.BPE())
        whole = json.loads(empty.to_str())
        backend.post_processor = tokenizers.Tokenizer.from_str(
            json.dumps({**whole, "post_processor": processor})
        ).post_processor
