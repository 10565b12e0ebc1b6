"""From rows to samples: which text a row stands for, its tokens, and why some rows are no use."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cllora.corpus.registered import Row
from cllora.corpus.template import Template, parse_template
from cllora.errors import UsageError
from cllora.registry import guess
from cllora.spec import DataSpec
from cllora.types import Tokenizer

NOT_TEXT = "not text"
NOT_UNICODE = "not valid Unicode"
EMPTY = "empty"
NO_ANSWER = "no answer"
TOO_SHORT = "fewer than two tokens"

BATCH_ROWS = 4096
BATCH_CHARACTERS = 1 << 22
"""A batch ends at whichever comes first, so that long texts do not fill the memory."""


@dataclass(frozen=True)
class Sample:
    """A row that can be trained on: its whole text, its tokens, and how many of the first carry no loss.

    `answer` is the end of `text` that is its answer, empty where none is asked for.
    """

    row: Row
    text: str
    tokens: Sequence[int]
    prompt: int
    answer: str = ""


@dataclass(frozen=True)
class Recipe:
    """What makes a sample of a row: `DataSpec.text`, `answer` and `loss_on`, read once."""

    text: Template
    answer: Template | None
    on_answer: bool

    @classmethod
    def of(cls, data: DataSpec) -> "Recipe":
        answer = None if data.answer is None else parse_template(data.answer, "data.answer")
        return cls(parse_template(data.text, "data.text"), answer, data.loss_on == "answer")

    def check_columns(self, rows: Sequence[Row], name: str) -> None:
        """Hold the columns asked for against those of the first rows of the source `name`."""
        known = dict.fromkeys(column for row in rows for column in row)
        for field, template in (("text", self.text), ("answer", self.answer)):
            for column in () if template is None else template.columns:
                if column not in known:
                    raise UsageError(f"data.{field}: {name} has no column '{column}'; {guess(column, known)}")

    def parts(self, row: Row) -> tuple[str, str] | str:
        """The row's text and answer ("" if none is asked for), or the reason why there are none."""
        text = self.text.render(row)
        answer = "" if self.answer is None else self.answer.render(row)
        if text is None or answer is None:
            return NOT_TEXT
        if not text.strip():
            return EMPTY
        if self.answer is not None and not answer.strip():
            return NO_ANSWER
        valid = all(valid_unicode(value) for value in row.values() if isinstance(value, str))
        return (text, answer) if valid else NOT_UNICODE

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer) -> list[Sample | str]:
        """For every row, in order, its sample or the reason why it is none."""
        return self.encode_parts([self.parts(row) for row in rows], tokenizer, rows)

    def encode_parts(
        self, parts: Sequence[tuple[str, str] | str], tokenizer: Tokenizer, rows: Sequence[Row] | None = None
    ) -> list[Sample | str]:
        """For every text and answer, in order, its sample (of an empty row, unless `rows` are given) or why it is none.

        The answer is joined to the text directly, and its tokens to the text's: the text with the tokenizer's
        special tokens, the answer without, so that the tokens of the text do not depend on the answer.
        """
        usable = [part for part in parts if not isinstance(part, str)]
        heads = tokenizer.encode([text for text, _ in usable]) if usable else []
        tails: list[list[int]] = [[] for _ in usable]
        if self.answer is not None and usable:
            tails = tokenizer.encode([answer for _, answer in usable], special=False)
        tokens = zip(heads, tails, strict=True)
        return [
            part if isinstance(part, str) else self._sample(row, part, *next(tokens))
            for row, part in zip(rows or [{}] * len(parts), parts, strict=True)
        ]

    def _sample(self, row: Row, part: tuple[str, str], head: list[int], tail: list[int]) -> Sample | str:
        if self.answer is not None and not tail:
            return NO_ANSWER
        if len(head) + len(tail) < 2:
            return TOO_SHORT
        prompt = len(head) if self.on_answer else 0
        return Sample(row, "".join(part), head + tail if tail else head, prompt, part[1])


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows by the batch, bounded in number and in characters."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(batch) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def valid_unicode(text: str) -> bool:
    """Whether it holds no lone surrogate, which JSON can write but no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
