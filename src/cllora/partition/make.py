"""The making of a partition: deal a pool, enforce the minimum, measure, split each client's test part off."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.partition.confounds import confounds
from cllora.partition.deal import Deal
from cllora.partition.heterogeneity import heterogeneity
from cllora.partition.min_samples import enforce_min_samples
from cllora.partition.pool import Pool, check_enough, partitioners
from cllora.seeds import rng
from cllora.spec import PartitionSpec
from cllora.types import Ids, Partition


def make_partition(spec: PartitionSpec, pool: Pool, global_test: Ids, seed: int) -> Partition:
    """Deal the pool as `spec` asks. Ids are sorted within each client; equal arguments give the equal partition.

    Every client gets at least `spec.min_samples` (train and test together): `enforce_min_samples` tops up those to
    which the scheme gave fewer. Of each client's samples a share `spec.local_test`, drawn at random, is for its test:
    rounded, at least one if it has two or more, never all. The heterogeneity is measured, its confounds among it.

    Raises:
        UsageError: an unknown scheme or option, an option's value that is not admitted, or too few samples.
    """
    scheme = partitioners.bind(spec.scheme, spec.options)
    check_enough(pool)
    if np.isin(global_test, pool.ids).any():
        raise ValueError("the global test set and the pool share samples")
    dealt = scheme(pool, rng(seed, "partition"))
    deal = dealt if isinstance(dealt, Deal) else Deal.of_lists(dealt)
    _check_deal(spec, pool, deal)
    deal, moved, topped_up = _with_enough(spec, pool, deal, seed)
    test = _test_entries(deal, spec.local_test, rng(seed, "local_test"))
    train_ids, train_offsets = _chosen_ids(pool.ids, deal, ~test)
    test_ids, test_offsets = _chosen_ids(pool.ids, deal, test)
    measured = replace(
        heterogeneity(pool, deal),
        moved=moved,
        topped_up=topped_up,
        tested_and_trained=_tested_and_trained(len(pool), deal, test),
        untested_clients=int((np.diff(test_offsets) == 0).sum()) if spec.local_test > 0 else 0,
    )
    measured = replace(measured, warnings=confounds(measured, spec, context=pool.context))
    return Partition(train_ids, train_offsets, test_ids, test_offsets, np.sort(global_test), measured)


def _check_deal(spec: PartitionSpec, pool: Pool, deal: Deal) -> None:
    """A user's own scheme may be wrong, which must not pass for a partition."""
    if deal.num_clients != pool.num_clients:
        raise UsageError(
            f"partitioner '{spec.scheme}' dealt to {deal.num_clients} clients, not to the {pool.num_clients} asked for"
        )
    if len(deal.positions) and not 0 <= deal.positions.min() <= deal.positions.max() < len(pool):
        raise UsageError(f"partitioner '{spec.scheme}' dealt positions that are not in the pool of {len(pool)}")
    clients = deal.clients()
    if ((np.diff(deal.positions) <= 0) & (clients[1:] == clients[:-1])).any():
        raise UsageError(f"partitioner '{spec.scheme}' dealt a sample twice to the same client")


def _with_enough(spec: PartitionSpec, pool: Pool, deal: Deal, seed: int) -> tuple[Deal, int, int]:
    short = int((deal.sizes() < spec.min_samples).sum())
    if short == 0:
        return deal, 0, 0
    shared = np.bincount(deal.positions, minlength=len(pool)).max() > 1
    if shared or len(deal.positions) < deal.num_clients * spec.min_samples:
        raise UsageError(
            f"partitioner '{spec.scheme}' left {short} clients below partition.min_samples ({spec.min_samples}) and "
            "the others cannot top them up; lower partition.min_samples"
        )
    return enforce_min_samples(deal, spec.min_samples, rng(seed, "partition", "repair"))


def _test_entries(deal: Deal, share: float, draw: np.random.Generator) -> NDArray[np.bool_]:
    """The entries of `deal.positions` that are for testing."""
    if share == 0:
        return np.zeros(len(deal.positions), np.bool_)
    sizes = deal.sizes()
    rounded = np.rint(share * sizes).astype(np.int64)
    return deal.draw(np.minimum(np.maximum(rounded, 1), sizes - 1), draw)


def _chosen_ids(ids: Ids, deal: Deal, chosen: NDArray[np.bool_]) -> tuple[Ids, NDArray[np.int64]]:
    """The ids of the chosen entries, client after client and ascending within each, and the clients' offsets."""
    offsets = np.concatenate([[0], np.cumsum(chosen)])[deal.offsets]
    return ids[deal.positions[chosen]], offsets


def _tested_and_trained(n: int, deal: Deal, test: NDArray[np.bool_]) -> int:
    tested = np.bincount(deal.positions[test], minlength=n) > 0
    trained = np.bincount(deal.positions[~test], minlength=n) > 0
    return int((tested & trained).sum())
