"""Update geometry: how the clients' updates of one round relate to each other.

With w the adapter that all clients started from and w_k what client k sent back, d_k = w_k - w is its update, p_k its
share of the round's samples (whatever the strategy weighs by) and d = sum_k p_k d_k the mean update. In one adapted
matrix, P_k = B_k A_k - B A is the update of the product and P = sum_k p_k P_k their mean.

The products are as large as the frozen matrices (m, n) and are not formed: every number here is made of inner
products, and <U V, U' V'> = sum of (U' U) o (V V') over matrices as small as the rank.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cllora.model.engine import Evaluator
from cllora.probes.probe import Moment, probes
from cllora.types import Array, Layout, Update, Vector

Tensors = Mapping[str, NDArray[np.float32]]

NUMBERS = ("norm", "cosine", "diversity", "drift", "averaging_error", "effective_rank", "effective_updates")
"""The numbers of clients' updates together, in all layers and in each; see `_numbers`."""

NOTHING = 1e-12
"""A square below this share of the squares that it comes from is what rounding left of zero."""

MOST_CLIENTS = 100
"""Up to so many clients in a round every pair's cosine is recorded; there are 4950."""

MOST_AT_ONCE = 2**20
"""Numbers of a client's tensor that are looked at in float64 at once."""

MOST_FACTORS = 4096
"""With (K + 1) r over this, nothing is said of products in a round: the inner products would fill the memory."""


@dataclass(frozen=True)
class _Products:
    """The inner products from which the numbers of one layer, or of all together, are computed; K clients.

    updates (K, K): <d_j, d_k>. products (K, K): <P_j, P_k>. error: |sum_k p_k B_k A_k - (mean B)(mean A)|^2.
    spectrum: the singular values of P. The last three are zeros, or empty, where nothing is an adapted matrix.
    """

    updates: Array
    products: Array
    error: float
    spectrum: Array


def all_layers(table: pd.DataFrame) -> dict[str, float]:
    """The numbers of all layers together; what is undefined is left out."""
    rows = table.loc[table["scope"] == "all", list(NUMBERS)]
    return {} if rows.empty else {str(name): float(value) for name, value in rows.iloc[0].dropna().items()}


@probes.register(when="round", title="update geometry", summary=all_layers, models="any")
def update_geometry(model: Evaluator, moment: Moment) -> pd.DataFrame:
    """The geometry of clients' updates: norms, cosines, drift, and the error of averaging A and B apart.

    Columns as `geometry` has them. Measured in every run, whatever `evaluation.probes` says; no rows where a strategy
    sends no whole adapter, or where clients started from different ones.
    """
    starts = [part.start.adapter for part in moment.participants]
    if not starts or not all(start is starts[0] or np.array_equal(start, starts[0]) for start in starts):
        return _table([])
    return geometry(starts[0], [part.update for part in moment.participants], moment.layout)


def geometry(sent: Vector, updates: Sequence[Update], layout: Layout) -> pd.DataFrame:
    """The geometry of a round's updates; no rows if there are none, or one holds no whole adapter.

    Columns: scope (`all` layers together, a `layer`, a `client`, or a `pair` of clients), layer (its name, as
    `layer_names` has it), client and other (-1 where it is of none), and `NUMBERS`, NaN where undefined or of another
    scope. Of a client: norm, |d_k|, and drift, |d_k - d| / |d|. Of a pair: cosine, of d_j and d_k, for up to
    `MOST_CLIENTS` clients. Of all layers and of each: see `_numbers`.

    Args:
        sent: the adapter that the clients started from (P,).
    """
    whole = [update.sent.get("adapter") for update in updates]
    if not whole or any(vector is None or vector.shape != sent.shape for vector in whole):
        return _table([])
    if sent.shape != (layout.size,):
        return _table([])
    p = np.array([update.samples for update in updates], np.float64)
    p = p / p.sum() if p.sum() > 0 else np.full(len(p), 1 / len(p))
    before, after = layout.split(sent), [layout.split(vector) for vector in whole if vector is not None]
    layers = {name: _of_layer(names, before, after, p) for name, names in _layers(layout).items()}
    total = _together(list(layers.values()))
    return _table(
        [
            {"scope": "all", **_rounded(_numbers(total, p))},
            *({"scope": "layer", "layer": name, **_rounded(_numbers(layer, p), 4)} for name, layer in layers.items()),
            *_of_clients(total.updates, p, [update.client for update in updates]),
        ]
    )


def layer_names(layout: Layout) -> list[str]:
    """The adapted matrices, in the adapter's order; a tensor that is no LoRA factor is a layer of its own."""
    return list(_layers(layout))


def _table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows under the columns of `geometry`, of the same types however few there are."""
    table = pd.DataFrame(rows, columns=["scope", "layer", "client", "other", *NUMBERS])
    table = table.fillna({"layer": "", "client": -1, "other": -1})
    kinds = {"scope": str, "layer": str, "client": int, "other": int}
    return table.astype({**kinds, **dict.fromkeys(NUMBERS, float)})


def _together(layers: Sequence[_Products]) -> _Products:
    """All layers as one."""
    return _Products(
        np.sum([layer.updates for layer in layers], axis=0),
        np.sum([layer.products for layer in layers], axis=0),
        sum(layer.error for layer in layers),
        np.concatenate([layer.spectrum for layer in layers]),
    )


def _of_clients(gram: Array, p: Array, clients: Sequence[int]) -> list[dict[str, object]]:
    """A row for every client, and one for every pair."""
    mean = gram @ p
    scale = float(p @ gram.diagonal())
    away = [_ratio(x, float(p @ mean), scale) for x in gram.diagonal() - 2 * mean + p @ mean]
    norms = [_short(float(np.sqrt(x))) for x in gram.diagonal()]
    rows: list[dict[str, object]] = [
        {"scope": "client", "client": client, "norm": norm, "drift": _short(x, root=True)}
        for client, norm, x in zip(clients, norms, away, strict=True)
    ]
    if len(clients) > MOST_CLIENTS:
        return rows
    pairs = zip(combinations(clients, 2), _cosines(gram), strict=True)
    return rows + [
        {"scope": "pair", "client": first, "other": second, "cosine": _short(cosine)}
        for (first, second), cosine in pairs
    ]


def _rounded(numbers: Mapping[str, float | None], digits: int = 6) -> dict[str, float | None]:
    return {name: _short(x, digits) for name, x in numbers.items()}


def _numbers(products: _Products, p: Array) -> dict[str, float | None]:
    """The numbers of the clients' updates together.

    norm               |d|, of the mean update
    cosine             the mean over pairs of <d_j, d_k> / (|d_j| |d_k|)
    diversity          sum |d_k|^2 / |sum d_k|^2 (Yin et al. 2018, arXiv 1706.05699): 1/K if equal, 1 if orthogonal
    drift              sqrt(sum p_k |d_k - d|^2) / |d|; 1 + drift^2 = sum p_k |d_k|^2 / |d|^2, the diversity weighted
    averaging_error    |sum p_k B_k A_k - (sum p_k B_k)(sum p_k A_k)| / |P|, Frobenius norms
    effective_rank     exp(-sum q_i ln q_i), q_i = s_i / sum s, s the singular values of P (Roy and Vetterli 2007)
    effective_updates  the same of the P_k stacked as rows, (K, mn): how many different updates there are, 1 to K
    """
    gram, scale = products.updates, float(p @ products.updates.diagonal())
    joint = float(p @ gram @ p)
    cosines = [x for x in _cosines(gram) if x is not None]
    changed = float(p @ products.products @ p)
    diversity = _ratio(float(gram.trace()), float(gram.sum()), float(gram.trace()))
    spread = _ratio(scale - joint, joint, scale)
    error = _ratio(products.error, changed, float(p @ products.products.diagonal()))
    stacked = np.sqrt(np.linalg.eigvalsh(products.products).clip(0))
    return {
        "norm": float(np.sqrt(max(joint, 0.0))),
        "cosine": float(np.mean(cosines)) if cosines else None,
        "diversity": diversity,
        "drift": None if spread is None else float(np.sqrt(spread)),
        "averaging_error": None if error is None else float(np.sqrt(error)),
        "effective_rank": _effective_number(products.spectrum),
        "effective_updates": _effective_number(stacked),
    }


def _of_layer(names: Sequence[str], before: Tensors, after: Sequence[Tensors], p: Array) -> _Products:
    """One layer's, from its tensors as sent and as each client sent them back."""
    names = sorted(names)
    if len(names) == 2 and (len(p) + 1) * len(before[names[0]]) <= MOST_FACTORS:
        a, b = (before[name].astype(np.float64) for name in names)
        da, db = (np.stack([tensors[name] for tensors in after]) - before[name].astype(np.float64) for name in names)
        return _of_pair(np.concatenate([b.T[None], db.transpose(0, 2, 1)]), np.concatenate([a[None], da]), p)
    grams = [_gram(before[name], [tensors[name] for tensors in after]) for name in names]
    return _Products(np.sum(grams, axis=0), np.zeros((len(p), len(p))), 0.0, np.empty(0))


def _gram(before: NDArray[np.float32], after: Sequence[NDArray[np.float32]]) -> Array:
    """<d_j, d_k> of a tensor, which may be as large as an embedding, without all of it in float64."""
    w, new = before.ravel(), [tensor.ravel() for tensor in after]
    gram = np.zeros((len(new), len(new)))
    for start in range(0, len(w), MOST_AT_ONCE):
        part = slice(start, start + MOST_AT_ONCE)
        moved = np.stack([tensor[part] for tensor in new]) - w[part].astype(np.float64)
        gram += moved @ moved.T
    return gram


def _of_pair(u: Array, v: Array, p: Array) -> _Products:
    """One adapted matrix's. u (K + 1, r, m) holds B and every dB_k, transposed, v (K + 1, r, n) A and every dA_k.

    With dB_k = B_k - B and dA_k = A_k - A, P_k = dB_k A_k + B dA_k, and the error of averaging is
    sum_k p_k (dB_k - mean)(dA_k - mean): nowhere do large terms cancel.
    """
    left, right = _inner_products(u), _inner_products(v)
    db, da = left[1:, :, 1:], right[1:, :, 1:]
    a_with_da = da + right[:1, :, 1:]
    a_with_a = a_with_da + right[1:, :, :1] + right[:1, :, :1]
    crossed = _sum_of_blocks(left[1:, :, :1] * a_with_da)
    products = _sum_of_blocks(db * a_with_a) + crossed + crossed.T + _sum_of_blocks(left[:1, :, :1] * da)
    error = float(p @ _sum_of_blocks(_centred(db, p) * _centred(da, p)) @ p)
    updates = np.trace(db + da, axis1=1, axis2=3)
    return _Products(updates, products, max(error, 0.0), _spectrum(u, v, left, right, p))


def _inner_products(x: Array) -> Array:
    """The inner products of all rows of x (K, r, m) with each other. Shape (K, r, K, r)."""
    rows = x.reshape(-1, x.shape[2])
    return (rows @ rows.T).reshape(*x.shape[:2], *x.shape[:2])


def _sum_of_blocks(x: Array) -> Array:
    return np.asarray(x.sum(axis=(1, 3)))


def _centred(x: Array, p: Array) -> Array:
    """Inner products (K, r, K, r) of things from those of the things less their mean by p."""
    x = x - np.tensordot(p, x, 1)
    return np.asarray(x - np.einsum("k,jakb->jab", p, x)[:, :, None])


def _spectrum(u: Array, v: Array, left: Array, right: Array, p: Array) -> Array:
    """The singular values of P = [B, dB_1, ...] C [A; dA_1; ...], C = [[0, p], [p, diag p]] in blocks of r.

    P itself is formed only where it is the smaller.
    """
    (many, r, m), n = u.shape, v.shape[2]
    weights = np.diag(np.concatenate([[0.0], p]))
    weights[0, 1:] = weights[1:, 0] = p
    c = np.kron(weights, np.eye(r))
    if many * r > min(m, n):
        return np.asarray(np.linalg.svd(u.reshape(-1, m).T @ c @ v.reshape(-1, n), compute_uv=False))
    values, vectors = np.linalg.eigh(left.reshape(many * r, -1))
    half = c.T @ (vectors * np.sqrt(values.clip(0)))
    return np.asarray(np.sqrt(np.linalg.eigvalsh(half.T @ right.reshape(many * r, -1) @ half).clip(0)))


def _layers(layout: Layout) -> dict[str, list[str]]:
    """The names of each layer's tensors: LoRA's A and B under their matrix's name, any other tensor under its own."""
    layers: dict[str, list[str]] = {}
    for name in layout.names:
        layers.setdefault(re.sub(r"\.?lora_(embedding_)?[AB](\.weight)?$", "", name), []).append(name)
    return layers


def _cosines(gram: Array) -> list[float | None]:
    """The cosine of every pair j < k, row by row; None where an update is zero."""
    norms = np.sqrt(gram.diagonal())
    scale = np.outer(norms, norms)
    cosines = np.divide(gram, scale, out=np.full_like(gram, np.nan), where=scale > 0).clip(-1, 1)
    return [None if np.isnan(x) else float(x) for x in cosines[np.triu_indices(len(gram), 1)]]


def _ratio(top: float, bottom: float, scale: float) -> float | None:
    """top / bottom, each a sum or difference of squares of the size of `scale`; None if the bottom is nothing."""
    if bottom <= NOTHING * scale:
        return None
    return top / bottom if top > NOTHING * scale else 0.0


def _effective_number(values: Array) -> float | None:
    """exp of the entropy of values >= 0 as shares of their sum; None if all are zero."""
    if values.sum() <= 0:
        return None
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _short(x: float | None, digits: int = 6, root: bool = False) -> float | None:
    if x is None:
        return None
    return float(f"{np.sqrt(x) if root else x:.{digits}g}")
