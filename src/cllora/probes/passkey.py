"""Passkey retrieval: is a key that stands somewhere in a long text of filler found again at its end?

Mohtashami & Jaggi 2023 (arXiv 2305.16300), as Chen et al. 2024 (arXiv 2309.12307) use it; without their opening lines,
which tell an instructed model what to do, and with keys of exactly five digits.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import PositiveInt

from cllora.errors import UsageError
from cllora.model.engine import Evaluator
from cllora.probes.probe import Moment, probes
from cllora.seeds import rng
from cllora.spec import PASSKEY_CONTEXT, PASSKEY_KEYS
from cllora.types import Losses, Samples, Tokenizer

FILLER = (" The grass is green.", " The sky is blue.", " The sun is yellow.", " Here we go.", " There and back again.")
NEEDLE = " The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = " What is the pass key? The pass key is"
DIGITS = 5
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The shares of the filler that stand before the key."""


def found_after(table: pd.DataFrame) -> dict[str, float]:
    """The summary after training: the share of keys found, and the mean over lengths and depths of nats per key
    token."""
    share_found = table["found_after"].sum() / table["keys"].sum()
    return {"found": float(share_found), "nats": float(table["nats_after"].mean())}


@probes.register(when="end", title="passkey retrieval", summary=found_after)
def passkey(model: Evaluator, moment: Moment, *, keys: PositiveInt = PASSKEY_KEYS) -> pd.DataFrame:
    """Passkey retrieval: how often a key hidden in a text is recalled, before and after training, of `keys` keys for
    every length and depth.

    A row per length and depth: length (tokens of the text), depth (0: the text's beginning, 1: its end), keys, digits;
    and for `before` and `after` training found_* (how many of the keys greedy decoding gives) and nats_* (mean negative
    log-likelihood of a key's token).
    """
    asked = lengths(model.context)
    other = model.over(texts(model.tokenizer, asked, keys, moment.seed))
    ids = np.arange(len(other.samples))
    grid = {"length": np.repeat(asked, len(DEPTHS)), "depth": np.tile(DEPTHS, len(asked)), "keys": keys}
    table = pd.DataFrame({**grid, "digits": DIGITS})
    for when, adapter in moment.before_and_after.items():
        table[f"found_{when}"], table[f"nats_{when}"] = counts(*other.recall(adapter, ids), len(asked))
    return table


def lengths(context: int) -> list[int]:
    """Tokens of the texts: the context, and down to a sixteenth of it what has room for the key."""
    return [length for length in (context // share for share in (16, 8, 4, 2, 1)) if length >= PASSKEY_CONTEXT]


def texts(tokenizer: Tokenizer, lengths: list[int], keys: int, seed: int) -> Samples:
    """The texts of a map, length by length, depth by depth, `keys` of each; all but the key at the end is prompt.

    Keys are drawn evenly from 00000 to 99999 by `rng(seed, "passkey", length)`, so that a guess is right once in 10^5.
    """
    made = []
    for length in lengths:
        drawn = rng(seed, "passkey", length).integers(10**DIGITS, size=(len(DEPTHS), keys))
        for depth, row in zip(DEPTHS, drawn, strict=True):
            made += [text(tokenizer, length, depth, f"{key:0{DIGITS}}") for key in row]
    tokens = [np.array(prompt + answer) for prompt, answer in made]
    offsets = np.cumsum([0, *map(len, tokens)])
    prompts = np.array([len(prompt) for prompt, _ in made], np.int32)
    name = f"passkey-{seed} of {tokenizer.fingerprint}: {keys} in {lengths}"
    return Samples([""] * len(made), np.concatenate(tokens), offsets, prompts, {}, name)


def text(tokenizer: Tokenizer, length: int, depth: float, key: str) -> tuple[list[int], list[int]]:
    """One text as tokens: everything up to the question, and the key that answers it, `length` in all.

    The filler begins wherever within a sentence makes the length exact, after the tokenizer's own special tokens. The
    key stands at the border of two sentences that is nearest to `depth`, a share of the filler's tokens.

    Raises:
        UsageError: the length has no room for the filler's sentences once.
    """
    start = _special(tokenizer)
    needle, question = (_after(tokenizer, ".", piece.format(key=key)) for piece in (NEEDLE, QUESTION))
    answer = _after(tokenizer, " is", f" {key}")
    sentences = [_after(tokenizer, ".", sentence) for sentence in FILLER]
    room, once = length - sum(map(len, (start, needle, question, answer))), sum(map(len, sentences))
    if room < once:
        raise UsageError(f"evaluation.passkey: {length} tokens have no room for a key; raise model.context")
    sentences *= -(-room // once)
    filler = [token for sentence in sentences for token in sentence]
    borders = np.cumsum([0, *map(len, sentences)]) - (len(filler) - room)
    borders = borders[borders >= 0]
    place = int(borders[np.abs(borders - depth * room).argmin()])
    filler = filler[-room:]
    return [*start, *filler[:place], *needle, *filler[place:], *question], answer


def counts(recalled: NDArray[np.bool_], losses: Losses, lengths: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The number of keys recalled and the nats per key token, by length and depth of the texts that `texts` made.

    Args:
        said: whether all of the key was said, (texts,).
        losses: of the keys alone.
    """
    shape = (lengths, len(DEPTHS), -1)
    nll, tokens = (values.reshape(shape).sum(-1) for values in (losses.nll, losses.tokens))
    return recalled.reshape(shape).sum(-1).ravel(), (nll / tokens).ravel()


def _special(tokenizer: Tokenizer) -> list[int]:
    """The tokens that the tokenizer puts before every text."""
    (whole,), (plain,) = tokenizer.encode(["."]), tokenizer.encode(["."], special=False)
    return whole[: whole.index(plain[0])]


def _after(tokenizer: Tokenizer, before: str, piece: str) -> list[int]:
    """The tokens of a piece as it follows on something: some tokenizers have others at a text's beginning."""
    whole, start = tokenizer.encode([before + piece, before], special=False)
    return whole[len(start) :]
