"""Samples of given texts, and losses of a base that is made up."""

from typing import Any

import numpy as np

from cllora.corpus import BaseLosses
from cllora.types import Ids, Samples
from support.corpus import ByteTokenizer


def made_up(samples: Samples, ids: Ids, context: int = 8) -> np.ndarray[Any, Any]:
    """Losses of a base that finds a token the harder the larger it is, and the easier the more came before it."""

    def loss(i: int) -> float:
        tokens = samples.tokens_of(i, context)
        return float(sum((1 + tokens[t]) / t for t in range(max(1, samples.prompts[i]), len(tokens))))

    return np.array([loss(int(i)) for i in ids])


BASE = BaseLosses("made up", made_up)


def samples_of(written: list[str]) -> Samples:
    tokens = ByteTokenizer().encode(written)
    offsets = np.cumsum([0, *map(len, tokens)])
    return Samples(written, np.concatenate(tokens), offsets, np.zeros(len(written), np.int32), {}, "made up")
