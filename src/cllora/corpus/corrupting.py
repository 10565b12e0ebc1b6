"""The corrupted form of every training text, made once for all shares: a share decides which of them are used."""

import hashlib
import heapq
import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from cllora.corpus.columns import ArrowFile, read_batches
from cllora.corpus.corruptions import Part, corruptions
from cllora.corpus.encode import NOT_UNICODE, Pair, Recipe, Sample, valid_unicode
from cllora.corpus.files import digest
from cllora.corpus.template import EMPTY
from cllora.errors import UsageError
from cllora.seeds import rng, seed_for
from cllora.spec import CorruptSpec, DataSpec
from cllora.types import Tokenizer

OTHERS = 256
"""The largest number of the data's answers that a corruption can draw on."""

SCHEMA = pa.schema([("prompt", pa.large_string()), ("text", pa.large_string())])

Forms = tuple[list[Sample], list[float]]
"""Corrupted forms, and for each the share from which on it is used (see `corrupted_from`)."""


def corrupted_from(text: str) -> float:
    """The share of corrupted texts from which on this one is among them: uniform on [0, 1), by the text alone.

    A text is corrupted if this is below the share asked for. So the same texts are corrupted whatever the seed, the
    cell or the corruption, and those at a share are among those at any larger one.
    """
    return seed_for(0, "spoiled", text) / 2**63  # named so since 0.1.0: another name would choose other texts


def corruption_identity(data: DataSpec) -> str | None:
    """The identity of corrupted forms, which changes when they would: the corruption, its options and code, not the
    share.

    Raises:
        UsageError: there is no such corruption or option, or it needs answers that the data has not.
    """
    corrupt = data.corrupt
    if corrupt is None:
        return None
    bound = corruptions.bind(corrupt.kind, corrupt.options)
    if corruptions.facts(corrupt.kind).needs == "answer" and data.answer is None and "{" in data.text:
        raise UsageError(f"data.corrupt: {corrupt.kind} needs answers; name their column as data.answer")
    code = digest(Path(inspect.getsourcefile(corruptions.get(corrupt.kind)) or ""))
    options = json.dumps(getattr(bound, "keywords", {}), sort_keys=True, default=repr)
    return hashlib.sha256(f"{corrupt.kind} {options} {code} {digest(Path(__file__))}".encode()).hexdigest()


class TextBuffer:
    """The training texts, kept in a file until all are read, since a wrong answer may be any other row's."""

    def __init__(self, folder: Path) -> None:
        self._file = ArrowFile(folder / "buffer.arrow", SCHEMA)
        self._answers: dict[int, str] = {}

    def add(self, samples: Sequence[Sample]) -> None:
        """Append samples, in order."""
        prompts, texts = zip(*(sample.pair for sample in samples), strict=True)
        self._file.write([pa.array(list(prompts), pa.large_string()), pa.array(list(texts), pa.large_string())])
        # The answers of the smallest hashes: a fair draw of the distinct ones, whatever their order.
        answers = {seed_for(0, "other", sample.answer): sample.answer for sample in samples if sample.answer}
        self._answers = dict(heapq.nsmallest(OTHERS, {**self._answers, **answers}.items()))

    def forms(self, corrupt: CorruptSpec, recipe: Recipe, tokenizer: Tokenizer) -> Iterator[Forms]:
        """The corrupted forms of all samples, by the batch; the file is removed in the end."""
        self._file.close()
        corruption = corruptions.bind(corrupt.kind, corrupt.options)
        answers = list(self._answers.values())
        for batch in read_batches(self._file.path):
            rows = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            parts = [Part(text, prompt, answers) for prompt, text in rows]
            yield _forms(parts, corrupt.kind, corruption, recipe, tokenizer)
        self._file.path.unlink()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()


def _forms(
    parts: Sequence[Part], kind: str, corruption: Callable[..., str], recipe: Recipe, tokenizer: Tokenizer
) -> Forms:
    """A text that the corruption leaves as it is, or of which it leaves nothing to train on, keeps its own form.

    It is then corrupted at no share.
    """
    corrupted = [_corrupted(part, kind, corruption) if part.text else "" for part in parts]
    encoded = recipe.encode_pairs([_pair(p, text) for p, text in zip(parts, corrupted, strict=True)], tokenizer)
    own = recipe.encode_pairs(
        [(p.prompt, p.text) if isinstance(form, str) else EMPTY for p, form in zip(parts, encoded, strict=True)],
        tokenizer,
    )
    samples: list[Sample] = []
    starts: list[float] = []
    for part, text, form, kept in zip(parts, corrupted, encoded, own, strict=True):
        chosen = kept if isinstance(form, str) else form
        assert isinstance(chosen, Sample)  # its own form was usable before
        same = isinstance(form, str) or text == part.text
        samples.append(chosen)
        starts.append(math.inf if same else corrupted_from(part.prompt + part.text))
    return samples, starts


def _corrupted(part: Part, kind: str, corruption: Callable[..., str]) -> str:
    text = corruption(part, rng(0, "spoil", kind, part.prompt + part.text))
    if not isinstance(text, str):
        raise UsageError(f"corruption '{kind}' must give text, not {type(text).__name__}")
    return text


def _pair(part: Part, text: str) -> Pair | str:
    """The pair to encode with another text in its place, or the reason why it cannot be encoded."""
    if not text.strip():
        return EMPTY
    return (part.prompt, text) if valid_unicode(text) else NOT_UNICODE
