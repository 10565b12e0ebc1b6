"""The arithmetic of the schemes: Dirichlet draws, mixes fitted to the supply, and dealing samples to amounts."""

import heapq

import numpy as np
from numpy.typing import NDArray

from cllora.partition.deal import grouped
from cllora.types import Array

Positions = NDArray[np.int64]

# Odds beyond a billion to one are one-hot for any number of samples; the floor keeps every mix positive, so that a
# fit to the supply exists.
FLOOR = 1e-9
ROUNDS = 2000
TOLERANCE = 1e-4


def dirichlet(weights: Array, draws: int, rng: np.random.Generator) -> Array:
    """Draws from Dir(weights), also for weights so small that a draw is one-hot. Shape (draws, len(weights)).

    A Gamma(a) variate is Gamma(a + 1) * U^(1/a) (Marsaglia and Tsang 2000, section 6). Taken in logarithms it never
    underflows, where NumPy's own draw turns to zeros and NaN.
    """
    # The clip is out of reach of any sensible weight and keeps the logarithms finite.
    a = np.clip(weights, 1e-300, 1e300)
    shape = (draws, len(a))
    logs = np.log(rng.standard_gamma(a + 1, shape)) - rng.standard_exponential(shape) / a
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def cut_by_shares(members: Positions, shares: Array, owners: Positions) -> None:
    """Give `members`, in their order, to clients in proportion to `shares` (K,), written into `owners`."""
    middles = (np.arange(len(members)) + 0.5) / len(members)
    owners[members] = np.searchsorted(np.cumsum(shares), middles).clip(max=len(shares) - 1)


def members_of_classes(classes: Positions, num_classes: int, rng: np.random.Generator) -> list[Positions]:
    """The positions of each class, each in random order."""
    order, offsets = grouped(classes, num_classes)
    members = np.split(order, offsets[1:-1])
    for positions in members:
        rng.shuffle(positions)
    return members


def fit_to_supply(mix: Array, supply: Array, sizes: Array | None = None) -> Array:
    """Amounts P (K, C) with equal rows and column sums `supply` (C,), as near to the `mix` (K, C) as these allow.

    With `sizes` (K,), which sum to 1, the rows are that share of the supply each.

    Iterative proportional fitting (Deming and Stephan 1940): P_kc = u_k * mix_kc * v_c. Of all amounts with these
    sums P is the one nearest to the mixes in relative entropy, and it keeps the drawn odds ratios
    P_kc P_jd / (P_kd P_jc). It ends after at most ROUNDS steps; what is then not fitted to TOLERANCE is left out of
    P, whose sums never exceed those asked for.
    """
    budget = supply.sum() / len(mix) if sizes is None else supply.sum() * sizes
    mix = np.maximum(mix, FLOOR)
    v = np.ones(len(supply))
    for _ in range(ROUNDS):
        u = budget / (mix @ v)
        columns = v * (mix.T @ u)
        if np.abs(columns - supply).sum() <= TOLERANCE * supply.sum():
            break
        v *= supply / columns
    u = budget / (mix @ v)
    amounts = u[:, None] * mix * v
    return np.asarray(amounts * np.minimum(1, supply / amounts.sum(axis=0)))


def deal_to_sizes(
    classes: Positions, mix: Array, weights: Positions, rng: np.random.Generator, sizes: Array | None = None
) -> Positions:
    """The owner of every sample, such that all clients get the same weight, in classes as `mix` (K, C) wants them.

    With `sizes` (K,), which sum to 1, client k's goal is that share of the weight.

    Each class is laid out as a line of its samples' weights, in random order, and cut at the borders of the amounts
    that `fit_to_supply` finds. A sample wholly between two borders goes to that client; so far nobody is above
    its goal. The samples that a border cuts are dealt after: always to the client that is then farthest below its
    goal, from the class that it lacks most. Everything is dealt, and two clients' distances from their goals differ by
    at most the largest weight.

    Args:
        classes, weights: of the samples, shape (n,); every class has a sample, weights are positive integers.
    """
    clients, num_classes = mix.shape
    supply = np.bincount(classes, weights, minlength=num_classes).astype(np.float64)
    amounts = fit_to_supply(mix, supply, sizes)
    goals = np.zeros(clients) if sizes is None else supply.sum() * sizes
    owners = np.full(len(classes), -1, np.int64)
    cut_by_border = []
    for positions, wanted in zip(members_of_classes(classes, num_classes, rng), amounts.T, strict=True):
        ends = np.cumsum(weights[positions])
        borders = np.concatenate([[0.0], np.cumsum(wanted)])
        client = np.searchsorted(borders[1:], ends)
        whole = (client < clients) & (ends - weights[positions] >= borders[client])
        owners[positions[whole]] = client[whole]
        cut_by_border.append(positions[~whole])
    _deal_rest(owners, cut_by_border, classes, weights, amounts, goals, rng)
    return owners


def _deal_rest(
    owners: Positions,
    rest: list[Positions],
    classes: Positions,
    weights: Positions,
    amounts: Array,
    goals: Array,
    rng: np.random.Generator,
) -> None:
    """Deal the `rest` of each class: who is farthest below its goal takes next, from the class that it lacks most."""
    dealt = owners >= 0
    cells = owners[dealt] * amounts.shape[1] + classes[dealt]
    have = np.bincount(cells, weights[dealt], minlength=amounts.size).reshape(amounts.shape)
    lacking: list[list[float]] = (amounts - have).tolist()
    # Ties go by a random rank: were they to go by number, the last clients would always be left with the remnants.
    ranks = rng.permutation(len(amounts))
    heap = list(zip((have.sum(axis=1) - goals).tolist(), ranks.tolist(), range(len(amounts)), strict=True))
    heapq.heapify(heap)
    stacks = [list(zip(positions.tolist(), weights[positions].tolist(), strict=True)) for positions in rest]
    stocked = [c for c, stack in enumerate(stacks) if stack]
    # Plain lists: arrays written one by one take several times as long.
    given: list[int] = []
    takers: list[int] = []
    while stocked:
        load, rank, client = heap[0]
        c = max(stocked, key=lacking[client].__getitem__)
        position, weight = stacks[c].pop()
        if not stacks[c]:
            stocked.remove(c)
        given.append(position)
        takers.append(client)
        lacking[client][c] -= weight
        heapq.heapreplace(heap, (load + weight, rank, client))
    owners[given] = takers


def draw_with_overlap(classes: Positions, mix: Array, sizes: Positions, rng: np.random.Generator) -> list[Positions]:
    """Draw `sizes[k]` distinct samples for client k, classes by its row of `mix` (K, C); clients may share samples.

    Where a client asks for more of a class than there is, the rest is drawn from its other classes.
    """
    order, offsets = grouped(classes, mix.shape[1])
    members = np.split(order, offsets[1:-1])
    return [
        np.concatenate([rng.choice(members[c], counts[c], replace=False) for c in np.flatnonzero(counts)])
        for counts in class_counts(mix, sizes, np.diff(offsets), rng)
    ]


def class_counts(mix: Array, sizes: Positions, supply: Positions, rng: np.random.Generator) -> NDArray[np.int64]:
    """Multinomial class counts (K, C), rows summing to `sizes` (K,), that no class's supply is exceeded by.

    Every pass fills a class or ends.
    """
    counts = np.zeros(mix.shape, np.int64)
    lacking = sizes
    while lacking.any():
        chances = np.maximum(mix, FLOOR) * (counts < supply)
        counts += rng.multinomial(lacking, chances / chances.sum(axis=1, keepdims=True))
        counts = np.minimum(counts, supply)
        lacking = sizes - counts.sum(axis=1)
    return counts
