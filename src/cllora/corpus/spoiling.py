"""The spoiled form of every training text, made once for all shares: a share decides which of them are used."""

import hashlib
import heapq
import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from cllora.corpus.columns import ArrowFile, read_batches
from cllora.corpus.encode import NOT_UNICODE, Pair, Recipe, Sample, valid_unicode
from cllora.corpus.files import digest
from cllora.corpus.spoilers import Part, spoilers
from cllora.corpus.template import EMPTY
from cllora.errors import UsageError
from cllora.seeds import rng, seed_for
from cllora.spec import DataSpec, SpoilSpec
from cllora.types import Tokenizer

OTHERS = 256
"""How many of the data's answers a spoiler can draw on."""

SCHEMA = pa.schema([("prompt", pa.large_string()), ("text", pa.large_string())])

Forms = tuple[list[Sample], list[float]]
"""Spoiled forms, and for each the share from which on it is used (see `spoiled_from`)."""


def spoiled_from(text: str) -> float:
    """The share of spoiled texts from which on this one is among them: uniform on [0, 1), by the text alone.

    A text is spoiled if this is below the share asked for. So the same texts are spoiled whatever the seed, the cell
    or the spoiler, and those at a share are among those at any larger one.
    """
    return seed_for(0, "spoiled", text) / 2**63


def spoiling_identity(data: DataSpec) -> str | None:
    """What changes whenever spoiled forms would: the spoiler, its options and its code, but not the share.

    Raises:
        UsageError: there is no such spoiler or option, or it needs answers that the data has not.
    """
    spoil = data.spoil
    if spoil is None:
        return None
    bound = spoilers.bind(spoil.kind, spoil.options)
    if spoilers.facts(spoil.kind).needs == "answer" and data.answer is None and "{" in data.text:
        raise UsageError(f"data.spoil: {spoil.kind} needs answers; name their column as data.answer")
    code = digest(Path(inspect.getsourcefile(spoilers.get(spoil.kind)) or ""))
    options = json.dumps(getattr(bound, "keywords", {}), sort_keys=True, default=repr)
    return hashlib.sha256(f"{spoil.kind} {options} {code} {digest(Path(__file__))}".encode()).hexdigest()


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

    def forms(self, spoil: SpoilSpec, recipe: Recipe, tokenizer: Tokenizer) -> Iterator[Forms]:
        """The spoiled forms of all samples, by the batch; the file is removed in the end."""
        self._file.close()
        spoiler = spoilers.bind(spoil.kind, spoil.options)
        answers = list(self._answers.values())
        for batch in read_batches(self._file.path):
            rows = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            parts = [Part(text, prompt, answers) for prompt, text in rows]
            yield _forms(parts, spoil.kind, spoiler, recipe, tokenizer)
        self._file.path.unlink()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()


def _forms(
    parts: Sequence[Part], kind: str, spoiler: Callable[..., str], recipe: Recipe, tokenizer: Tokenizer
) -> Forms:
    """A text that the spoiler leaves as it is, or of which it leaves nothing to train on, keeps its own form.

    It is then spoiled at no share.
    """
    spoiled = [_spoiled(part, kind, spoiler) if part.text else "" for part in parts]
    encoded = recipe.encode_pairs([_pair(p, text) for p, text in zip(parts, spoiled, strict=True)], tokenizer)
    own = recipe.encode_pairs(
        [(p.prompt, p.text) if isinstance(form, str) else EMPTY for p, form in zip(parts, encoded, strict=True)],
        tokenizer,
    )
    samples: list[Sample] = []
    starts: list[float] = []
    for part, text, form, kept in zip(parts, spoiled, encoded, own, strict=True):
        chosen = kept if isinstance(form, str) else form
        assert isinstance(chosen, Sample)  # its own form was usable before
        same = isinstance(form, str) or text == part.text
        samples.append(chosen)
        starts.append(math.inf if same else spoiled_from(part.prompt + part.text))
    return samples, starts


def _spoiled(part: Part, kind: str, spoiler: Callable[..., str]) -> str:
    text = spoiler(part, rng(0, "spoil", kind, part.prompt + part.text))
    if not isinstance(text, str):
        raise UsageError(f"spoiler '{kind}' must give text, not {type(text).__name__}")
    return text


def _pair(part: Part, text: str) -> Pair | str:
    """What is encoded with another text in its place, or why it cannot be."""
    if not text.strip():
        return EMPTY
    return (part.prompt, text) if valid_unicode(text) else NOT_UNICODE
