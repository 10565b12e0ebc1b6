"""The minimum of samples per client: all are brought up to `partition.min_samples`, whatever was drawn."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cllora.partition.deal import Deal


def enforce_min_samples(deal: Deal, min_samples: int, rng: np.random.Generator) -> tuple[Deal, int, int]:
    """A deal in which every client has `min_samples`; how many samples moved, and to how many clients.

    The largest clients give: one sample at a time, always the client that is then largest (ties: the lower number),
    a sample of its own chosen uniformly. What is given is shuffled and fills up the clients below the minimum. It
    always ends, and no giver falls below the minimum, as the deal must hold at least K * min_samples.
    """
    sizes = deal.sizes()
    needs = np.maximum(min_samples - sizes, 0)
    moved = int(needs.sum())
    if moved == 0:
        return deal, 0, 0
    given = deal.draw(given_by_largest(sizes, moved), rng)
    clients = deal.clients()
    clients[given] = rng.permutation(np.repeat(np.arange(deal.num_clients), needs))
    owners = np.full(int(deal.positions.max()) + 1, -1, np.int64)
    owners[deal.positions] = clients
    mended = replace(Deal.of_owners(owners, deal.num_clients, deal.names), without_owner=deal.without_owner)
    return mended, moved, int((needs > 0).sum())


def given_by_largest(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """The samples that each client gives when `total` are taken one by one from the then largest. Shape (K,).

    That levels the largest clients to a common height, found by bisection, and takes the remainder from the first
    of those that stand at it.
    """
    low, high = 0, int(sizes.max())
    while low < high:
        level = (low + high) // 2
        low, high = (low, level) if np.maximum(sizes - level, 0).sum() <= total else (level + 1, high)
    gifts = np.maximum(sizes - low, 0)
    gifts[np.flatnonzero(sizes >= low)[: total - int(gifts.sum())]] += 1
    return gifts
