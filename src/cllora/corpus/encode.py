"""Encoding of rows as samples: the text of a row, its tokens, and the reasons why rows are dropped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cllora.corpus.registry import Row
from cllora.corpus.template import EMPTY, Reason, Template, parse_template
from cllora.errors import UsageError
from cllora.registry import guess
from cllora.spec import DataSpec
from cllora.types import EndingTokenizer, Tokenizer

NOT_UNICODE = "not valid Unicode"
NO_ANSWER = "no answer"
TOO_SHORT = "fewer than two tokens"

BATCH_ROWS = 4096
BATCH_CHARACTERS = 1 << 22
"""A batch ends at whichever comes first, so that long texts do not fill the memory."""

Pair = tuple[str, str]
"""The two texts of a sample: the one that stays when it is corrupted, and the one that is corrupted."""


@dataclass(frozen=True)
class Sample:
    """A row that can be trained on: its whole text, its tokens, and how many of the first carry no loss.

    `spans` are the tokens that carry loss, first and one after the last, where they are not all after the `prompt`.
    `answer` is what is corrupted of it if it is an answer, empty where none is asked for; `pair` is what it is made of.
    """

    row: Row
    text: str
    tokens: Sequence[int]
    prompt: int
    answer: str = ""
    pair: Pair = ("", "")
    spans: tuple[tuple[int, int], ...] | None = None


OwnTokenizer = Any  # the tokenizer that the kind of recipe needs, which `recipe_for` saw to


class Recipe(Protocol):
    """A recipe, which makes samples of rows."""

    @property
    def answers(self) -> bool:
        """Whether samples have answers."""
        ...

    def check_columns(self, rows: Sequence[Row], name: str) -> None:
        """Hold the columns asked for against those of the first rows of the source `name`."""
        ...

    def encode(self, rows: Sequence[Row], tokenizer: OwnTokenizer) -> list[Sample | str]:
        """Encode every row, in order, as its sample or the reason why there is none."""
        ...

    def encode_pairs(self, pairs: Sequence[Pair | str], tokenizer: OwnTokenizer) -> list[Sample | str]:
        """Encode every pair, in order, as its sample (of an empty row) or the reason why there is none."""
        ...


@dataclass(frozen=True)
class TextRecipe:
    """A text, with or without an answer: `DataSpec.text`, `answer`, `loss_on` and `end`, read once."""

    text: Template
    answer: Template | None
    on_answer: bool
    end: str = "answer"

    @classmethod
    def from_spec(cls, data: DataSpec) -> "TextRecipe":
        answer = None if data.answer is None else parse_template(data.answer, "data.answer")
        return cls(parse_template(data.text, "data.text"), answer, data.loss_on == "answer", data.end)

    @property
    def answers(self) -> bool:
        return self.answer is not None

    @property
    def ends(self) -> bool:
        """Whether a sample ends with the token that ends texts."""
        return self.end == "all" or (self.end == "answer" and self.answers)

    def check_columns(self, rows: Sequence[Row], name: str) -> None:
        columns = dict.fromkeys(column for row in rows for column in row)
        for field, template in (("text", self.text), ("answer", self.answer)):
            for column in () if template is None else template.columns:
                if column not in columns:
                    raise UsageError(f"data.{field}: {name} has no column '{column}'; {guess(column, columns)}")

    def parts(self, row: Row) -> Pair | str:
        """The row's text and answer ("" if none is asked for), or the reason why there are none."""
        text = self.text.render(row)
        answer = "" if self.answer is None else self.answer.render(row)
        for rendered in (text, answer):
            if isinstance(rendered, Reason):
                return rendered
        if not text.strip():
            return Reason(EMPTY, self.text.columns, text)
        if self.answer is not None and not answer.strip():
            return Reason(NO_ANSWER, self.answer.columns, answer)
        return invalid(row) or (text, answer)

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer) -> list[Sample | str]:
        return self._encode([self.parts(row) for row in rows], tokenizer, rows)

    def encode_pairs(self, pairs: Sequence[Pair | str], tokenizer: Tokenizer) -> list[Sample | str]:
        kept = [pair if isinstance(pair, str) or self.answers else (pair[1], "") for pair in pairs]
        return self._encode(kept, tokenizer, [{}] * len(pairs))

    def _encode(self, parts: Sequence[Pair | str], tokenizer: Tokenizer, rows: Sequence[Row]) -> list[Sample | str]:
        """The answer is joined to the text directly, and both are encoded at once."""
        usable = [part for part in parts if not isinstance(part, str)]
        encoded = iter(bordered(usable, tokenizer) if self.answers else whole([text for text, _ in usable], tokenizer))
        end = getattr(tokenizer, "end", None)
        return [
            part if isinstance(part, str) else self._sample(row, part, *next(encoded), end)
            for row, part in zip(rows, parts, strict=True)
        ]

    def _sample(self, row: Row, part: Pair, tokens: list[int], border: int, end: int | None) -> Sample | str:
        if self.answer is not None and border == len(tokens):
            return Reason(NO_ANSWER, self.answer.columns, part[1])
        # A tokenizer may end every text itself. A text's first token is where it begins, even if it is the same.
        ended = len(tokens) > 1 and tokens[-1] == end
        if self.ends and end is not None and len(tokens) > 0 and not ended:
            tokens = [*tokens, end]
        if self.end == "none" and ended:
            tokens = tokens[:-1]
        if len(tokens) < 2:
            return Reason(TOO_SHORT, self.text.columns, part[0])
        pair = part if self.answers else ("", part[0])
        return Sample(row, "".join(part), tokens, border if self.on_answer else 0, part[1], pair)


def ends_itself(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer puts the token that ends texts at the end of every text."""
    tokens, end = tokenizer.encode(["a"])[0], getattr(tokenizer, "end", None)
    return end is not None and len(tokens) > 1 and tokens[-1] == end


def whole(texts: Sequence[str], tokenizer: Tokenizer) -> list[tuple[list[int], int]]:
    """The tokens of texts without a border."""
    return [(tokens, 0) for tokens in tokenizer.encode(texts)] if texts else []


def bordered(parts: Sequence[Pair], tokenizer: Tokenizer) -> list[tuple[list[int], int]]:
    """The tokens of texts with their answers, encoded as one, and how many of them are before the answer.

    A token that is of both belongs to the answer, since a part of that is to be predicted. Where a tokenizer cannot
    tell where its tokens lie, the answer begins where the text alone is encoded otherwise than the whole.
    """
    if not parts:
        return []
    texts = [text + answer for text, answer in parts]
    placed = tokenizer.encode_with_stops(texts) if isinstance(tokenizer, EndingTokenizer) else None
    if placed is not None:
        return [
            (tokens, first_after(stops, len(text))) for (tokens, stops), (text, _) in zip(placed, parts, strict=True)
        ]
    alone, wholes = tokenizer.encode([text for text, _ in parts]), tokenizer.encode(texts)
    return [(tokens, common_prefix(head, tokens)) for head, tokens in zip(alone, wholes, strict=True)]


def first_after(stops: NDArray[np.int64], place: int) -> int:
    """The first of the tokens that end after a place in the text; how many there are if none does."""
    after = np.flatnonzero(stops > place)
    return int(after[0]) if len(after) else len(stops)


def common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """The length of the common prefix of two sequences."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def invalid(row: Row) -> Reason | None:
    """The reason to drop a row with a text that no file can hold; None if it can be used."""
    bad = [name for name, value in row.items() if isinstance(value, str) and not valid_unicode(value)]
    if odd := next((name for name in row if not valid_unicode(str(name))), None):
        return Reason(NOT_UNICODE, (ascii(odd)[1:-1],), None)
    return Reason(NOT_UNICODE, (bad[0],), row[bad[0]]) if bad else None


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows by the batch, bounded in number and in characters."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(map(_characters, row.values()))
        if len(batch) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def valid_unicode(text: str) -> bool:
    """Whether it holds no lone surrogate, which JSON can write but no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
