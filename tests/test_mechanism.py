"""How a round's updates relate: every number against the formula written out with the full matrices."""

import json
import math
from itertools import combinations

import numpy as np
import pytest

from cllora.probes import update_geometry as module
from cllora.probes.update_geometry import NUMBERS, geometry, layer_names
from cllora.types import Layout, Update


def relations(sent, updates, layout):
    """The table by scope; what is undefined is None. None if nothing is said."""
    table = geometry(sent, updates, layout).replace({np.nan: None})
    if table.empty:
        return None
    rows = {scope: table[table["scope"] == scope] for scope in ("all", "layer", "client", "pair")}
    return {
        "norms": rows["client"]["norm"].tolist(),
        "drifts": rows["client"]["drift"].tolist(),
        "cosines": rows["pair"]["cosine"].tolist(),
        "total": rows["all"].iloc[0][list(NUMBERS)].to_dict(),
        "by_layer": {name: rows["layer"][name].tolist() for name in NUMBERS},
    }


def layout_of(r, layers=3, m=12, n=9, more=()):
    factors = {"A": (r, n), "B": (m, r)}
    named = {f"model.{i}.q_proj.lora_{x}.weight": shape for i in range(layers) for x, shape in factors.items()}
    named |= dict(more)
    return Layout(tuple(named), tuple(named.values()))


def updates_of(layout, clients, seed=0, far=0.1):
    """A sent adapter, and updates of clients of different sizes that go some common way and some their own."""
    draw = np.random.default_rng(seed)
    sent, common = draw.normal(size=(2, layout.size))
    moved = sent + far * (common + draw.normal(size=(clients, layout.size)))
    sizes = draw.integers(5, 50, clients)
    return sent.astype(np.float32), [
        Update(1, k, {"adapter": w.astype(np.float32)}, int(n), 1, 1, 1.0)
        for k, (w, n) in enumerate(zip(moved, sizes, strict=True))
    ]


def spread_of(values):
    """exp of the entropy of singular values."""
    q = values[values > 1e-14 * values.max()] / values.sum()
    return math.exp(-(q * np.log(q)).sum())


def dense(sent, updates, layout, only=None):
    """The slow way: full matrices in float64, all layers, or the one named `only`."""
    n = np.array([update.samples for update in updates], float)
    p = n / n.sum()
    names = [name for name in layout.names if only is None or name.startswith(f"{only}.") or name == only]

    def tensors(vector):
        return {name: t.astype(np.float64) for name, t in layout.split(vector).items() if name in names}

    before, after = tensors(sent), [tensors(update.sent["adapter"]) for update in updates]
    d = np.array([np.concatenate([(w[name] - before[name]).ravel() for name in names]) for w in after])
    mean = p @ d
    pairs = list(combinations(range(len(d)), 2))
    cosines = [d[j] @ d[k] / np.linalg.norm(d[j]) / np.linalg.norm(d[k]) for j, k in pairs]
    drifts = np.linalg.norm(d - mean, axis=1) / np.linalg.norm(mean)
    numbers = {
        "norm": np.linalg.norm(mean),
        "cosine": np.mean(cosines) if pairs else None,
        "diversity": (d**2).sum() / (d.sum(axis=0) ** 2).sum(),
        "drift": math.sqrt(p @ drifts**2),
        **products(before, after, p),
    }
    return {"norms": np.linalg.norm(d, axis=1), "drifts": drifts, "cosines": cosines, "total": numbers}


def products(before, after, p):
    """The numbers that are about B A, all adapted matrices together."""
    matrices = [name.removesuffix(".lora_A.weight") for name in before if name.endswith("lora_A.weight")]
    if not matrices:
        return dict.fromkeys(("averaging_error", "effective_rank", "effective_updates"))
    wrong = right = 0.0
    spectrum, flat = [], []
    for matrix in matrices:
        a, b = f"{matrix}.lora_A.weight", f"{matrix}.lora_B.weight"
        changes = np.array([w[b] @ w[a] - before[b] @ before[a] for w in after])
        apart = np.tensordot(p, [w[b] for w in after], 1) @ np.tensordot(p, [w[a] for w in after], 1)
        joint = np.tensordot(p, changes, 1)
        wrong += ((joint - (apart - before[b] @ before[a])) ** 2).sum()
        right += (joint**2).sum()
        spectrum.append(np.linalg.svd(joint, compute_uv=False))
        flat.append(changes.reshape(len(after), -1))
    return {
        "averaging_error": math.sqrt(wrong / right),
        "effective_rank": spread_of(np.concatenate(spectrum)),
        "effective_updates": spread_of(np.linalg.svd(np.concatenate(flat, axis=1), compute_uv=False)),
    }


def assert_equal(found, expected, rel):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == (None if value is None else pytest.approx(value, rel=rel, abs=1e-7)), key


@pytest.mark.parametrize("far", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("clients", [1, 2, 3, 10])
@pytest.mark.parametrize("r", [1, 2, 8])
def test_all_numbers_are_those_of_the_full_matrices(r, clients, far):
    layout = layout_of(r, more={"model.norm.weight": (7,), "model.9.k_proj.lora_A.bias": (3,)}.items())
    sent, updates = updates_of(layout, clients, seed=r, far=far)
    found, expected = relations(sent, updates, layout), dense(sent, updates, layout)
    for key in ("norms", "drifts", "cosines"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-6)
    assert_equal(found["total"], expected["total"], 1e-5)
    names = layer_names(layout)
    assert names == [*(f"model.{i}.q_proj" for i in range(3)), "model.norm.weight", "model.9.k_proj.lora_A.bias"]
    for i, name in enumerate(names):
        of_layer = {key: values[i] for key, values in found["by_layer"].items()}
        assert_equal(of_layer, dense(sent, updates, layout, name)["total"], 1e-3)


def test_a_change_that_is_small_beside_the_adapter_is_measured_just_as_well():
    layout = layout_of(4)
    draw = np.random.default_rng(0)
    sent = draw.normal(size=layout.size).astype(np.float32)
    moved = sent + 1e-5 * draw.normal(size=(3, layout.size)).astype(np.float32)
    updates = [Update(1, k, {"adapter": w.astype(np.float32)}, 10, 1, 1, 1.0) for k, w in enumerate(moved)]
    assert_equal(relations(sent, updates, layout)["total"], dense(sent, updates, layout)["total"], 1e-5)


def by_hand(*moves, samples=(1, 1, 1)):
    """Updates of a plain layout from zero, clients of these sizes."""
    layout = Layout(("w",), ((len(moves[0]),),))
    updates = [
        Update(1, k, {"adapter": np.array(move, np.float32)}, n, 1, 1, 1.0)
        for k, (move, n) in enumerate(zip(moves, samples, strict=False))
    ]
    return relations(np.zeros(layout.size, np.float32), updates, layout)


@pytest.mark.parametrize(
    ("moves", "cosine", "diversity", "drift"),
    [
        (((1, 0), (1, 0)), 1, 1 / 2, 0),
        (((1, 0), (0, 1)), 0, 1, 1),
        (((2, 0), (-1, 0)), -1, 5, 3),
        (((1, 0), (-1, 0)), -1, None, None),
        (((0, 0), (0, 0)), None, None, None),
        (((3, 4),), None, 1, 0),
    ],
)
def test_agreement_and_opposition_by_hand(moves, cosine, diversity, drift):
    total = by_hand(*moves)["total"]
    found = [total[key] for key in ("cosine", "diversity", "drift")]
    assert found == [None if x is None else pytest.approx(x) for x in (cosine, diversity, drift)]
    assert total["averaging_error"] is None


def test_clients_weigh_by_their_samples():
    found = by_hand((4, 0), (0, 4), samples=(3, 1))
    assert found["total"]["norm"] == pytest.approx(math.hypot(3, 1))
    assert found["drifts"] == pytest.approx([math.hypot(1, 1) / math.hypot(3, 1), math.hypot(3, 3) / math.hypot(3, 1)])


@pytest.mark.parametrize("frozen", ["lora_A", "lora_B"])
def test_averaging_is_exact_where_one_factor_stays(frozen):
    layout = layout_of(2)
    sent, updates = updates_of(layout, 4)
    fixed = np.concatenate([np.full(t.size, frozen in name) for name, t in layout.split(sent).items()])
    kept = [
        Update(1, u.client, {"adapter": np.where(fixed, sent, u.sent["adapter"])}, u.samples, 1, 1, 1.0)
        for u in updates
    ]
    assert relations(sent, updates, layout)["total"]["averaging_error"] > 0.01
    assert relations(sent, kept, layout)["total"]["averaging_error"] == 0


def test_one_update_many_times_is_one():
    layout = layout_of(1, layers=1)
    sent, updates = updates_of(layout, 1)
    total = relations(sent, updates * 5, layout)["total"]
    assert total["effective_updates"] == pytest.approx(1, abs=1e-5)
    assert total["cosine"] == pytest.approx(1)
    assert 1 < total["effective_rank"] <= 2, "a change of rank one factors has rank two"


@pytest.mark.parametrize("kind", ["start", "no change", "one changes", "huge", "tiny", "cancel", "no samples"])
def test_no_number_is_infinite(kind):
    layout = layout_of(2, layers=1)
    sent, updates = updates_of(layout, 3)
    if kind == "start":
        sent = np.where(np.arange(layout.size) < 18, sent, 0).astype(np.float32)
    moved = {
        "no change": [sent] * 3,
        "one changes": [sent, sent, updates[0].sent["adapter"]],
        "huge": [np.full_like(sent, 3e38), np.full_like(sent, -3e38), sent],
        "tiny": [np.full_like(sent, 1e-45), sent * 0, np.full_like(sent, -1e-45)],
        "cancel": [sent * 2, sent * 0, sent],
    }.get(kind, [u.sent["adapter"] for u in updates])
    sent = sent * 0 if kind == "tiny" else sent
    updates = [Update(1, k, {"adapter": w}, 0 if kind == "no samples" else 5, 1, 1, 1.0) for k, w in enumerate(moved)]
    with np.errstate(all="raise", under="ignore"):
        found = relations(sent, updates, layout)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(found["cosines"]) == 3
    if kind in ("no change", "cancel"):
        assert found["total"]["diversity"] is None


def test_without_a_whole_adapter_nothing_is_said():
    layout = layout_of(2)
    sent, updates = updates_of(layout, 2)
    part = Update(1, 1, {"adapter": sent[:5]}, 5, 1, 1, 1.0)
    other = Update(1, 1, {"c": sent}, 5, 1, 1, 1.0)
    assert relations(sent, [updates[0], part], layout) is None
    assert relations(sent, [updates[0], other], layout) is None


def test_pairs_are_not_listed_of_very_many_clients(monkeypatch):
    monkeypatch.setattr(module, "MOST_CLIENTS", 3)
    layout = layout_of(1, layers=1)
    assert len(relations(*updates_of(layout, 3), layout)["cosines"]) == 3
    found = relations(*updates_of(layout, 4), layout)
    assert found["cosines"] == []
    assert found["total"]["cosine"] is not None


def test_with_too_many_factors_the_updates_are_measured_and_the_products_not(monkeypatch):
    layout = layout_of(2)
    sent, updates = updates_of(layout, 4)
    whole = relations(sent, updates, layout)["total"]
    monkeypatch.setattr(module, "MOST_FACTORS", 9)
    found = relations(sent, updates, layout)["total"]
    for key in ("norm", "cosine", "diversity", "drift"):
        assert found[key] == pytest.approx(whole[key])
    assert [found[key] for key in ("averaging_error", "effective_rank", "effective_updates")] == [None] * 3


@pytest.mark.parametrize("clients", [2, 10])
def test_the_order_of_clients_changes_no_total(clients):
    layout = layout_of(3)
    sent, updates = updates_of(layout, clients)
    one, other = relations(sent, updates, layout), relations(sent, updates[::-1], layout)
    assert one["total"] == pytest.approx(other["total"], rel=1e-5)
    assert one["norms"] == other["norms"][::-1]
