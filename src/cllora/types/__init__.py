"""The values that flow through a study. All frozen, all plain arrays and numbers; nothing here remembers a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cllora.types.arrays import Array as Array
from cllora.types.arrays import Ids as Ids
from cllora.types.arrays import OnRead as OnRead
from cllora.types.environment import AttentionRecord as AttentionRecord
from cllora.types.environment import BaseRecord as BaseRecord
from cllora.types.environment import DataRecord as DataRecord
from cllora.types.environment import Environment as Environment
from cllora.types.environment import Hardware as Hardware
from cllora.types.environment import MessageSizes as MessageSizes
from cllora.types.environment import Origin as Origin
from cllora.types.environment import Package as Package
from cllora.types.layout import Arrays as Arrays
from cllora.types.layout import Layout as Layout
from cllora.types.layout import Mask as Mask
from cllora.types.layout import Matrix as Matrix
from cllora.types.layout import Model as Model
from cllora.types.layout import Vector as Vector
from cllora.types.layout import model_of as model_of
from cllora.types.layout import same_frozen as same_frozen
from cllora.types.partition import ClientMeasures as ClientMeasures
from cllora.types.partition import Doses as Doses
from cllora.types.partition import FeatureClasses as FeatureClasses
from cllora.types.partition import Heterogeneity as Heterogeneity
from cllora.types.partition import LengthCorrelation as LengthCorrelation
from cllora.types.partition import Partition as Partition
from cllora.types.partition import SecondFeature as SecondFeature
from cllora.types.partition import Spread as Spread
from cllora.types.partition import TextClass as TextClass
from cllora.types.partition import VarianceBetween as VarianceBetween
from cllora.types.plain import Json as Json
from cllora.types.plain import from_plain as from_plain
from cllora.types.plain import to_plain as to_plain
from cllora.types.records import ClientRecord as ClientRecord
from cllora.types.records import RoundRecord as RoundRecord
from cllora.types.training import Job as Job
from cllora.types.training import Losses as Losses
from cllora.types.training import Participant as Participant
from cllora.types.training import Round as Round
from cllora.types.training import Task as Task
from cllora.types.training import Trained as Trained
from cllora.types.training import Update as Update
from cllora.types.training import Work as Work


class Tokenizer(Protocol):
    """What a corpus needs of a model's tokenizer, so that it need not know the model."""

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
    found out about the source. `known` keeps what was once computed of the samples.

    Where texts are spoiled (`data.spoil`), the last samples are spoiled forms of others, the `originals`, which come
    first; `trained_as[i]` is what is trained on in place of original i: itself or its spoiled form. Shape (originals,).
    """

    texts: Sequence[str]
    tokens: NDArray[np.integer[Any]]
    offsets: NDArray[np.int64]
    prompts: NDArray[np.int32]
    columns: Mapping[str, Sequence[Any]]
    fingerprint: str
    test: Ids | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    known: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    trained_as: Ids | None = None
    spans: NDArray[np.int32] | None = None
    span_offsets: NDArray[np.int64] | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def once(self, what: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What `compute` gives, computed the first time that this is asked for; not to be written to."""
        if what not in self.known:
            self.known[what] = compute()
            self.known[what].flags.writeable = False
        return self.known[what]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def originals(self) -> int:
        """How many samples came from the source; spoiled forms of these follow."""
        return len(self) if self.trained_as is None else len(self.trained_as)

    def trained(self, ids: Ids) -> Ids:
        """What is trained on in place of these originals: themselves, or their spoiled forms. Shape (len(ids),)."""
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
            which = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - firsts, counts)
            spans = self.spans[which].astype(np.int64)
            starts, stops = spans[:, 0], np.minimum(spans[:, 1], seen[place])
        starts = np.maximum(starts, 1)
        return place, starts, np.maximum(starts, stops)

    def tokens_of(self, sample: int, context: int) -> NDArray[np.int64]:
        """The first `context` tokens of one sample."""
        start, stop = self.offsets[sample], self.offsets[sample + 1]
        return np.asarray(self.tokens[start : min(stop, start + context)], np.int64)
