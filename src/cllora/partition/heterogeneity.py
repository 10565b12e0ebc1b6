"""The heterogeneity of the clients: measured on the deal, whatever was asked for."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from cllora.partition.deal import Deal
from cllora.partition.pool import Pool
from cllora.types import (
    Array,
    ClientMeasures,
    Doses,
    FeatureClasses,
    Heterogeneity,
    SecondFeature,
    Spread,
    TextClass,
    VarianceBetween,
)

Amounts = Array | NDArray[np.int64]


def gini(amounts: Amounts) -> float:
    """Gini coefficient of non-negative amounts (K,): 0 if all are equal, 1 - 1/K if one has everything.

    sum_ij |x_i - x_j| / (2 K^2 mean), by the sorted form sum_i (2i - K - 1) x_(i) / (K sum x).
    """
    x, k = np.sort(np.asarray(amounts, np.float64)), len(amounts)
    return float(((2 * np.arange(1, k + 1) - k - 1) * x).sum() / (k * x.sum())) if x.sum() > 0 else 0.0


def effective_number(amounts: Amounts) -> float:
    """The number of equal clients that would be as concentrated: 1 / sum p^2, from 1 to K (inverse Simpson index)."""
    total = np.asarray(amounts, np.float64).sum()
    return float(1 / ((amounts / total) ** 2).sum()) if total > 0 else 0.0


def jensen_shannon(mixes: Array, reference: Array) -> Array:
    """Jensen-Shannon divergence of each mix (K, C) to the reference, (C,) or one each (K, C): (K,), in bits, 0 to 1.

    JS(p, q) = (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2 (Lin 1991); the divergence, not its square root.
    """
    middle = (mixes + reference) / 2
    both = rel_entr(mixes, middle) + rel_entr(np.broadcast_to(reference, mixes.shape), middle)
    return np.asarray((both.sum(axis=1) / (2 * np.log(2))).clip(0, 1))


def total_variation(mixes: Array, reference: Array) -> Array:
    """Half the summed absolute difference of each mix (K, C) to the reference (C,), 0 to 1. Shape (K,)."""
    return np.asarray(np.abs(mixes - reference).sum(axis=1) / 2)


def variance_between(values: Array, groups: NDArray[np.int64]) -> float:
    """Share of the variance of `values` (n,) that lies between groups (eta squared), 0 to 1; 0 for a constant."""
    if len(values) == 0 or values.min() == values.max():  # the mean of equal numbers may be another in its last digit
        return 0.0
    spread = values - values.mean()
    total = float((spread**2).sum())
    counts = np.bincount(groups)
    sums = np.bincount(groups, spread)
    return float((sums[counts > 0] ** 2 / counts[counts > 0]).sum() / total)


def heterogeneity(pool: Pool, deal: Deal) -> Heterogeneity:
    """Measure a deal, before each client's test part is split off.

    A text that is trained on in a corrupted form is measured in that form.
    """
    client, positions = deal.clients(), deal.positions
    owners = np.bincount(positions, minlength=len(pool))
    samples = deal.sizes()
    tokens = np.bincount(client, pool.tokens[positions], minlength=deal.num_clients).astype(np.int64)
    shares, pooled = _class_shares(pool, deal)
    js, tv = jensen_shannon(shares, pooled), total_variation(shares, pooled)
    return Heterogeneity(
        num_clients=deal.num_clients,
        pool_samples=len(pool),
        used=int((owners > 0).sum()),
        unused=int((owners == 0).sum()),
        without_owner=deal.without_owner,
        repeated=int((owners > 1).sum()),
        clients=ClientMeasures(
            names=deal.names or None,
            samples=tuple(samples.tolist()),
            tokens=tuple(tokens.tolist()),
            class_shares=_rows(shares),
            js=tuple(js.tolist()),
            tv=tuple(tv.tolist()),
        ),
        js_mean=float(js.mean()),
        tv_mean=float(tv.mean()),
        largest_class_share_mean=float(shares.max(axis=1).mean()),
        samples=_spread(samples),
        tokens=_spread(tokens),
        variance_between=_variances(pool, deal),
        classes=FeatureClasses(pooled_shares=tuple(pooled.tolist()), described=_described(pool)),
        length_between_classes=variance_between(np.log1p(pool.lengths.astype(np.float64)), pool.classes),
        corrupted=None if pool.corrupted is None else _doses(pool.corrupted, deal),
        and_by=None if pool.second is None else _second(pool, deal),
    )


def _rows(shares: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, shares.tolist()))


def _variances(pool: Pool, deal: Deal) -> VarianceBetween:
    client, positions = deal.clients(), deal.positions
    values = pool.values[positions]
    return VarianceBetween(
        values=variance_between(values, client),
        log1p=variance_between(np.log1p(values), client) if values.min() >= 0 else None,
        tokens=variance_between(pool.tokens[positions].astype(np.float64), client),
        chance=(deal.num_clients - 1) / max(len(positions) - 1, 1),
    )


def _class_shares(pool: Pool, deal: Deal) -> tuple[Array, Array]:
    """Each client's class shares (K, C), and the pool's (C,)."""
    cells = deal.clients() * pool.num_classes + pool.classes[deal.positions]
    counts = np.bincount(cells, minlength=deal.num_clients * pool.num_classes).reshape(deal.num_clients, -1)
    return counts / np.maximum(deal.sizes(), 1)[:, None], pool.class_counts() / len(pool)


def _doses(corrupted: NDArray[np.bool_], deal: Deal) -> Doses:
    dealt = corrupted[deal.positions].astype(np.float64)
    sums = np.bincount(deal.clients(), dealt, deal.num_clients)
    return Doses(
        share=float(corrupted.mean()),
        doses=tuple((sums / np.maximum(deal.sizes(), 1)).tolist()),
        variance_between=variance_between(dealt, deal.clients()),
    )


def _second(pool: Pool, deal: Deal) -> SecondFeature:
    by = pool.by_second()
    shares, pooled = _class_shares(by, deal)
    return SecondFeature(
        js_mean=float(jensen_shannon(shares, pooled).mean()),
        tv_mean=float(total_variation(shares, pooled).mean()),
        largest_class_share_mean=float(shares.max(axis=1).mean()),
        class_shares=_rows(shares),
        variance_between=variance_between(by.values[deal.positions], deal.clients()),
        described=_described(by),
        association=cramers_v(pool.classes, by.classes),
    )


def cramers_v(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Cramér's V: the association of two groupings of the same texts (n,), 0 to 1; 0 if one of them has a single group.

    Cramer's V with the part taken off that chance has in it (Bergsma 2013, without his correction of the divisor):
    V^2 = max(0, phi^2 - (C - 1)(D - 1) / (n - 1)) / (min(C, D) - 1), phi^2 = sum_cd n_cd^2 / (n_c n_d) - 1.
    """
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return 0.0
    phi2 = float((table**2 / np.outer(table.sum(axis=1), table.sum(axis=0))).sum()) - 1
    beyond_chance = max(0.0, phi2 - (rows - 1) * (columns - 1) / (len(a) - 1))
    return float(np.sqrt(beyond_chance / (min(rows, columns) - 1)))


def _spread(amounts: NDArray[np.int64]) -> Spread:
    return Spread(
        gini=gini(amounts),
        effective_clients=effective_number(amounts),
        min=int(amounts.min()),
        median=float(np.median(amounts)),
        max=int(amounts.max()),
    )


def _described(pool: Pool) -> tuple[TextClass, ...]:
    """Every class: its cut points, its values, and what the model sees of its texts."""
    low = [None, *pool.cuts.tolist()]
    high = [*pool.cuts.tolist(), None]
    return tuple(_text_class(pool, c, low[c], high[c]) for c in range(pool.num_classes))


def _text_class(pool: Pool, number: int, low: float | None, high: float | None) -> TextClass:
    mine = pool.classes == number
    values = pool.values[mine]
    return TextClass(
        from_=low,
        below=high,
        samples=int(mine.sum()),
        min=float(values.min()),
        median=float(np.median(values)),
        max=float(values.max()),
        share_cut=float((pool.lengths[mine] > pool.context).mean()),
        median_tokens=float(np.median(pool.tokens[mine])),
        median_length=float(np.median(pool.lengths[mine])),
    )
