"""Made-up samples."""

import numpy as np

from cllora.types import Samples

WORDS = ("alpha", "beta", "gamma", "return", "value", "error", "file", "column", "array", "shape", "where", "none")

NUM_TEXTS = 200
"""The number of texts in the file that the fixture `texts` makes."""


def made_up_samples(count: int = 60, longest: int = 60, seed: int = 0, prompts: bool = False) -> Samples:
    """Samples of 2 to `longest` random tokens, each starting with the token 2."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, longest + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = draw.integers(4, 260, offsets[-1]).astype(np.uint16)
    tokens[offsets[:-1]] = 2
    prompt = draw.integers(0, lengths - 1) if prompts else np.zeros(count)
    return Samples([""] * count, tokens, offsets, prompt.astype(np.int32), {}, f"made-up-{seed}")
