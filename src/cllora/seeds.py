"""Every random draw names itself, so that no draw depends on the order in which others are made.

A resumed run, a run over several processes and a run straight through see the same numbers, because the
generator for, say, round 7 of client 3 depends on those words alone.
"""

import hashlib

import numpy as np


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit integer that depends on `seed` and on every name, in order (SHA-256 of their text)."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """A fresh NumPy generator for one named purpose: `rng(seed, "train", round, client)`."""
    return np.random.Generator(np.random.PCG64(seed_for(seed, *names)))
