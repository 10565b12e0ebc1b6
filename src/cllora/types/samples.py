"""Texts as the rooms hand them to each other: tokens on disk, and what a corpus needs of a tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cllora.types.arrays import Ids


class Tokenizer(Protocol):
    """The tokenizer's interface for a corpus, which so need not know the model."""

    fingerprint: str
    vocabulary: int

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Token ids per text, uncut; with the tokenizer's own special tokens unless `special` is false."""
        ...


@runtime_checkable
class EndingTokenizer(Tokenizer, Protocol):
    """A tokenizer that also knows which token ends a text (`end`, None if none does), and where tokens lie."""

    end: int | None

    def encode_with_stops(self, texts: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]] | None:
        """Token ids per text, as `encode` has them, and for each where in the text it ends (in characters; 0 for one
        that is not of the text). None if the tokenizer cannot tell."""
        ...


Computed = NDArray[Any]  # of the type that its name is asked for with


@dataclass(frozen=True)
class Samples:
    """Texts as tokens, read once and memory-mapped. A sample is known by its integer id, 0 to `len - 1`.

    `tokens` holds all samples one after the other, uncut; sample i is `tokens[offsets[i]:offsets[i + 1]]`.
    `prompts[i]` is how many of its first tokens carry no loss (0 unless the loss is on answers only). Where several
    parts of a sample carry loss, as the assistant's turns in a chat, `spans` (M, 2) has the first token and the one
    after the last of each, M in all; sample i's are `spans[span_offsets[i]:span_offsets[i + 1]]`, in order, and
    `prompts[i]` is where they begin. Both are None where every sample carries loss from `prompts[i]` to its end.
    `texts` and `columns` (the source's own) are read from disk as they are asked for; `test` are the ids of the
    global test set when the source names one.
    `dropped` counts rows that could not be used, by reason, and `examples` shows one for each; `notes` say what was
    found out about the source. `cache` keeps what was once computed of the samples.

    Where texts are corrupted (`data.corrupt`), the last samples are corrupted forms of others, the `originals`, which
    come first; `trained_as[i]` is the id to train on in place of original i: itself or its corrupted form. Shape
    (originals,).
    """

    texts: Sequence[str]
    tokens: NDArray[np.integer[Any]]  # Any: two or four bytes each
    offsets: NDArray[np.int64]
    prompts: NDArray[np.int32]
    columns: Mapping[str, Sequence[object]]
    fingerprint: str
    test: Ids | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    cache: dict[str, Computed] = field(default_factory=dict, repr=False, compare=False)
    trained_as: Ids | None = None
    spans: NDArray[np.int32] | None = None
    span_offsets: NDArray[np.int64] | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def once(self, key: str, compute: Callable[[], Computed]) -> Computed:
        """The result of `compute`, computed once and cached by its key; not to be written to."""
        if key not in self.cache:
            self.cache[key] = compute()
            self.cache[key].flags.writeable = False
        return self.cache[key]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def originals(self) -> int:
        """The number of samples from the source; corrupted forms of these follow."""
        return len(self) if self.trained_as is None else len(self.trained_as)

    def trained(self, ids: Ids) -> Ids:
        """The ids to train on in place of these originals: themselves, or their corrupted forms. Shape (len(ids),)."""
        return ids if self.trained_as is None else self.trained_as[ids]

    def lengths(self) -> NDArray[np.int64]:
        """Tokens per sample, uncut, special tokens included. Shape (len,)."""
        return np.diff(self.offsets)

    def seen(self, ids: Ids, context: int) -> NDArray[np.int64]:
        """Tokens of each sample that a model with this context sees. Shape (len(ids),)."""
        lengths: NDArray[np.int64] = np.minimum(self.offsets[ids + 1] - self.offsets[ids], context)
        return lengths

    def predicted(self, ids: Ids, context: int) -> NDArray[np.int64]:
        """Tokens of each sample that carry loss: seen, not of the prompt, and not the first. Shape (len(ids),)."""
        place, starts, stops = self.answered(ids, context)
        return stops - starts if self.spans is None else np.bincount(place, stops - starts, len(ids)).astype(np.int64)

    def answered(self, ids: Ids, context: int | NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64], NDArray[np.int64]]:
        """The stretches of tokens that carry loss: seen, and not a sample's first token, which nothing predicts.

        `context` is that of all, or of each. Returns three arrays of one length: the place in `ids` of the sample that
        a stretch is of (ascending), its first token, and the one after its last. Some may be empty.
        """
        seen = np.minimum(self.offsets[ids + 1] - self.offsets[ids], context)
        if self.spans is None or self.span_offsets is None:
            place, starts, stops = np.arange(len(ids)), self.prompts[ids].astype(np.int64), seen
        else:
            firsts = self.span_offsets[ids]
            counts = self.span_offsets[ids + 1] - firsts
            place = np.repeat(np.arange(len(ids)), counts)
            span_rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - firsts, counts)
            spans = self.spans[span_rows].astype(np.int64)
            starts, stops = spans[:, 0], np.minimum(spans[:, 1], seen[place])
        starts = np.maximum(starts, 1)
        return place, starts, np.maximum(starts, stops)

    def tokens_of(self, sample: int, context: int) -> NDArray[np.int64]:
        """The first `context` tokens of one sample."""
        start, stop = self.offsets[sample], self.offsets[sample + 1]
        return np.asarray(self.tokens[start : min(stop, start + context)], np.int64)
