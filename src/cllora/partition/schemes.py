"""The partitioners. "Dirichlet with alpha" means several things in the literature; here each has its own name."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cllora.corpus import owner_text
from cllora.errors import UsageError
from cllora.partition.deal import Deal
from cllora.partition.dealing import (
    cut_by_shares,
    deal_to_sizes,
    dirichlet,
    draw_with_overlap,
    members_of_classes,
)
from cllora.partition.pool import Alpha, Pool, partitioners
from cllora.registry import guess
from cllora.types import Array


@partitioners.register()
def client_mix(
    pool: Pool,
    rng: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
    and_alpha: Alpha = "iid",
    quantity_alpha: Alpha = "iid",
    budget: Literal["samples", "tokens"] = "samples",
    overlap: bool = False,
) -> Deal:
    """Every client draws its own class mix; all clients get equally much. Skews the feature alone. Also called
    `dirichlet_per_client`.

    Client k draws q_k ~ Dir(alpha * C * prior), prior being the pool's class shares: Dir(alpha) for equal classes
    (after Hsu et al. 2019, arXiv:1909.06335, whose alpha is C times ours). All samples are dealt, none twice, and each
    client gets equally many `samples` (within one) or equally many `tokens` as the model sees them (within one
    sample's). As each class is dealt exactly once over, the drawn mixes cannot all be met: they are fitted to the
    supply by iterative proportional fitting (`dealing.fit_to_supply`), which keeps the drawn odds ratios. The skew
    weakens a little: with 5 equal classes and 20 clients the mean largest class share is 0.79, 0.45, 0.22 for alpha
    0.1, 1, 100, against 0.81, 0.46, 0.22 as drawn. With fewer clients than classes no client can hold one class alone.

    With `and_alpha` each client draws a second mix, of the classes of `and_by`, and wants of every pair of classes the
    product of its two shares. What goes together in the pool goes together in the clients: the fit sees to it. With
    `quantity_alpha` the clients' sizes, in the budget's unit, are one draw of Dir(quantity_alpha), as in `quantity`.
    The draws are apart: every combination of the three alphas is a design of its own, and `iid` leaves its part out.

    With `overlap` every client draws n // K samples from the whole pool by its mix, none twice within a client, and
    clients share samples; this is how Plato does it, and most likely how Zhang et al. 2025 (arXiv:2502.18910) did.
    `alpha: iid` deals equal shares of the shuffled pool. A large alpha is more even still, as it leaves nothing to
    chance (0.24 for iid against 0.22 with 180 samples per client).
    """
    if overlap and budget == "tokens":
        raise UsageError("client_mix: overlapping clients have a budget of samples only; drop overlap or budget")
    clients = pool.num_clients
    classes, mix = _joint_mix(pool, alpha, and_alpha, rng)
    sizes = None
    if quantity_alpha != "iid":
        sizes = dirichlet(np.full(clients, float(quantity_alpha)), 1, rng)[0]
    if overlap:
        counts = np.full(clients, len(pool) // clients)
        if sizes is not None:  # texts are shared, so that nobody need give any up for the minimum
            counts = np.maximum(np.rint(sizes * len(pool)).astype(np.int64), pool.min_samples)
        return Deal.of_lists(draw_with_overlap(classes, mix, counts, rng))
    # Every sample costs something, or an empty text would have no place on its class's line.
    weights = np.ones_like(classes) if budget == "samples" else np.maximum(pool.tokens, 1)
    return Deal.of_owners(deal_to_sizes(classes, mix, weights, rng, sizes), clients)


def _joint_mix(
    pool: Pool, alpha: float | str, and_alpha: float | str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Array]:
    """The class of every sample (n,) and the clients' mixes of classes (K, C), over one feature, two, or (C = 1) none.

    Over two the classes are the pairs that some sample has.
    """
    classes, mix = np.zeros(len(pool), np.int64), np.ones((pool.num_clients, 1))
    axes = [pool] if alpha != "iid" else []
    axes += [pool.by_second()] if and_alpha != "iid" else []
    strengths = [float(strength) for strength in (alpha, and_alpha) if strength != "iid"]
    for axis, strength in zip(axes, strengths, strict=True):
        prior = axis.class_counts() * axis.num_classes / len(axis)
        own = dirichlet(strength * prior, pool.num_clients, rng)
        pairs, classes = np.unique(classes * axis.num_classes + axis.classes, return_inverse=True)
        mix = (mix[:, :, None] * own[:, None, :]).reshape(len(mix), -1)[:, pairs]
    return classes, mix


@partitioners.register()
def class_split(pool: Pool, rng: np.random.Generator, *, alpha: Alpha = 1.0) -> Deal:
    """Every class is split over the clients by its own Dir(alpha). Skews the feature and the quantity together. Also
    called `dirichlet_per_class`.

    The usual "Dirichlet partition" (Yurochkin et al. 2019, arXiv:1905.12022; NIID-Bench, Li et al. 2022), without
    the step that some tools add to balance sizes and without redrawing until all clients have enough.
    """
    if alpha == "iid":
        return _equal_shares(pool, rng)
    owners = np.empty(len(pool), np.int64)
    members = members_of_classes(pool.classes, pool.num_classes, rng)
    shares = dirichlet(np.full(pool.num_clients, float(alpha)), pool.num_classes, rng)
    for positions, share in zip(members, shares, strict=True):
        cut_by_shares(positions, share, owners)
    return Deal.of_owners(owners, pool.num_clients)


@partitioners.register(by_feature=False)
def quantity(pool: Pool, rng: np.random.Generator, *, alpha: Alpha = 1.0) -> Deal:
    """Client sizes are one draw of Dir(alpha), contents are random. Skews the quantity alone.

    NIID-Bench's `iid-diff-quantity` (Li et al. 2022, arXiv:2102.02079), without redrawing small clients.
    """
    if alpha == "iid":
        return _equal_shares(pool, rng)
    owners = np.empty(len(pool), np.int64)
    shares = dirichlet(np.full(pool.num_clients, float(alpha)), 1, rng)[0]
    cut_by_shares(rng.permutation(len(pool)), shares, owners)
    return Deal.of_owners(owners, pool.num_clients)


@partitioners.register(by_feature=False)
def iid(pool: Pool, rng: np.random.Generator) -> Deal:
    """Equal shares of the shuffled pool: no skew but chance. Sizes differ by at most one sample."""
    return _equal_shares(pool, rng)


def _equal_shares(pool: Pool, rng: np.random.Generator) -> Deal:
    owners = np.empty(len(pool), np.int64)
    owners[rng.permutation(len(pool))] = np.arange(len(pool)) % pool.num_clients
    return Deal.of_owners(owners, pool.num_clients)


@partitioners.register(by_feature=False)
def natural(pool: Pool, rng: np.random.Generator, *, column: str) -> Deal:
    """One client per value of a column: the `num_clients` owners with the most samples, ties by name.

    Names are those of `owner_text`, whatever the type of the column; a field within a column is `column: meta.owner`.
    Samples of other owners, and those without one (none, blank), stay unused. An owner below `min_samples` is never
    made a client, as topping it up with other owners' texts would not be natural any more.

    Raises:
        UsageError: no such column, or too few owners with enough samples.
    """
    if column not in pool.columns:
        raise UsageError(
            f"natural: there is no column '{column}'; {guess(column, pool.columns)} (a column of lists is none)"
        )
    values = pool.columns[column][:]
    owned: dict[str, list[int]] = {}
    for position, sample in enumerate(pool.ids.tolist()):
        name = owner_text(values[sample], column)
        if name:
            owned.setdefault(name, []).append(position)
    enough = [name for name, positions in owned.items() if len(positions) >= pool.min_samples]
    if len(enough) < pool.num_clients:
        raise UsageError(
            f"natural: {len(enough)} of the {len(owned)} owners in column '{column}' have at least {pool.min_samples} "
            f"samples, fewer than the {pool.num_clients} clients; lower partition.num_clients or partition.min_samples"
        )
    chosen = sorted(enough, key=lambda name: (-len(owned[name]), name))[: pool.num_clients]
    deal = Deal.of_lists([np.array(owned[name], np.int64) for name in chosen], tuple(chosen))
    return replace(deal, without_owner=len(pool) - sum(map(len, owned.values())))
