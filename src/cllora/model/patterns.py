"""Patterns of attention: which token sees which, each one rule about a text's positions.

A pattern puts every token of a text into a group, and into a line there. A token sees itself and those of its group
that stand before it in the line. The computation (`attention`), the tests' oracle and the picture in the docs are all
made of that rule, and of nothing else.

A member is a function of `places` (N,), tokens' positions in their own text, of `length` (N,), how many tokens that
text has, and of whether the heads are `shifted`. It returns each token's group (N,) and place in line (N,).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from cllora.registry import Registry
from cllora.spec import Choice

Places = NDArray[np.int64]
Rule = Callable[[Places, Places, bool], tuple[Places, Places]]


def _tokens_or_share(value: int | float) -> int | float:
    if isinstance(value, bool) or not (value >= 1 if isinstance(value, int) else 0 < value < 1):
        raise ValueError("give a number of tokens, such as 2048, or a share of the context, such as 0.25")
    return value


Group = Annotated[int | float, AfterValidator(_tokens_or_share)]
"""The size of a group: tokens (a whole number), or a share of `model.context` between 0 and 1."""

patterns: Registry[Callable[..., tuple[Places, Places]]] = Registry("attention pattern")


@patterns.register()
def full(places: Places, length: Places, shifted: bool) -> tuple[Places, Places]:
    """Ordinary causal attention: every token sees all of its text before it."""
    return np.zeros_like(places), places


@patterns.register()
def local(places: Places, length: Places, shifted: bool, *, group: Group = 0.25) -> tuple[Places, Places]:
    """Groups that see nothing of each other: g(p) = floor(p / G). The paper's pattern 1 in all heads."""
    return places // int(group), places


@patterns.register()
def s2(places: Places, length: Places, shifted: bool, *, group: Group = 0.25) -> tuple[Places, Places]:
    """Shifted sparse attention (LongLoRA) without its leak: half of the heads have groups shifted by half a group.

    g(p) = floor((p + s) / G), with s = 0, or s = G - floor(G/2) in shifted heads. Their first group has floor(G/2)
    tokens; nothing wraps round, so no token sees a later one. Chen et al. 2024 (arXiv 2309.12307), as the authors'
    flash attention for Llama has it.
    """
    size = int(group)
    return (places + (size - size // 2 if shifted else 0)) // size, places


@patterns.register()
def s2_roll(places: Places, length: Places, shifted: bool, *, group: Group = 0.25) -> tuple[Places, Places]:
    """LongLoRA's figure as drawn, which leaks: a text's first tokens see its last. Only to measure that leak.

    In shifted heads a text of n tokens is rolled by half a group: the line is r = (p - floor(G/2)) mod n, and
    g = floor(r / G). The first floor(G/2) tokens stand behind the text's last ones. Chen et al. 2024, figure 2 and
    algorithm 1, which ask for n to be a multiple of G.
    """
    size = int(group)
    line = (places - size // 2) % length if shifted else places
    return line // size, line


@dataclass(frozen=True)
class Pattern:
    """A pattern with its options settled; `group` is in tokens, None where there are no groups."""

    name: str
    group: int | None
    rule: Rule

    def visible(self, query: Places, key: Places, length: Places, shifted: bool) -> NDArray[np.bool_]:
        """Whether the token at `query` sees that at `key`, both of a text of `length`: broadcast against each other."""
        (own, place), (other, before) = (self.rule(places, length, shifted) for places in (query, key))
        seen: NDArray[np.bool_] = (own == other) & (before <= place)
        return seen

    def blocks(self, lengths: NDArray[np.int64], shifted: bool) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
        """The groups of packed texts with these many tokens (S,), as blocks in which attention is plainly causal.

        Returns:
            The order in which the N packed tokens lie in blocks (N,), None where they lie so already; and the size of
            each block.
        """
        owner = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        group, line = self.rule(places, lengths[owner], shifted)
        order = None
        if not (_new(owner) | (np.diff(group) > 0) | ((np.diff(group) == 0) & (np.diff(line) > 0))).all():
            order = np.lexsort((line, group, owner))
            owner, group = owner[order], group[order]
        borders = np.flatnonzero(_new(owner) | _new(group)) + 1
        return order, np.diff(borders, prepend=0, append=len(owner))

    def is_full(self, length: int) -> bool:
        """Whether every token of a text of that length sees all before it, and nothing else."""
        both = [self.blocks(np.array([length]), shifted) for shifted in (False, True)]
        return all(order is None and len(sizes) == 1 for order, sizes in both)

    def leaks(self, length: int) -> bool:
        """Whether any token of a text of that length sees a later one."""
        for shifted in (False, True):
            order, sizes = self.blocks(np.array([length]), shifted)
            block = np.repeat(np.arange(len(sizes)), sizes)
            if order is not None and (~_new(block) & (np.diff(order) < 0)).any():
                return True
        return False


def pattern_of(choice: Choice, context: int) -> Pattern:
    """A pattern as a study names it; a share of the context becomes a number of tokens, the same for every text.

    Raises:
        UsageError: an unknown pattern or option, or a value that is not admitted.
    """
    rule = patterns.bind(choice.name, choice.options)
    group = rule.keywords.get("group")
    if isinstance(group, float):
        group = max(1, int(group * context + 1e-9))
        rule = functools.partial(rule, group=group)
    return Pattern(choice.name, group, rule)


FULL = Pattern("full", None, full)


def unshifted_heads(heads: int, kv_heads: int) -> tuple[int, int]:
    """The number of the query heads, and of the key and value heads, that are not shifted: the first ones.

    Query heads stay with the key and value head that they share, so those are halved. Where there is one, the query
    heads are halved, and both halves share it.
    """
    if kv_heads == 1:
        return heads // 2, 1
    return kv_heads // 2 * (heads // kv_heads), kv_heads // 2


def _new(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The flags of values that differ from the one before."""
    changed: NDArray[np.bool_] = np.diff(values) != 0
    return changed
