"""Whether clients with other texts pull another way: made-up rounds in which they do, and in which they do not."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr
from scipy.stats import spearmanr

from cllora.analysis import results as read_runs
from cllora.metrics.update_geometry import NUMBERS, by_layer, by_round, correlation, disagreements
from cllora.reports import NotMeasured, Trend
from cllora.stats import dyads
from cllora.types import Partition
from support.reports import drawn, section
from support.synthetic import make_study, write_study

LAYERS = ["a", "b"]


def a_round(number, clients, cosines, **total):
    numbers = dict.fromkeys(NUMBERS, 1.0) | total
    rows = [
        {"scope": "all", **numbers},
        {"scope": "layer", "layer": "a", **numbers},
        {"scope": "layer", "layer": "b"},
        *({"scope": "client", "client": k, "norm": 0.5 + k} for k in clients),
        *(
            {"scope": "pair", "client": one, "other": other, "cosine": cosine}
            for (one, other), cosine in zip(combinations(clients, 2), cosines, strict=True)
        ),
    ]
    return pd.DataFrame(rows, columns=["scope", "layer", "client", "other", *NUMBERS]).assign(round=number)


GEOMETRY = pd.concat(
    [
        a_round(1, [0, 2], [0.25]),
        a_round(2, [1], [], cosine=None),
        a_round(3, [0, 1, 2], [0.5, None, -1.0]),
    ],
    ignore_index=True,
).fillna({"layer": "", "client": -1, "other": -1})
NOTHING = pd.DataFrame({"round": []})


def partition_of(mixes):
    """Clients with these counts of each class."""
    classes = np.concatenate([np.repeat(np.arange(len(mix)), mix) for mix in mixes])
    offsets = np.concatenate([[0], np.cumsum([sum(mix) for mix in mixes])])
    none = np.zeros(len(mixes) + 1, np.int64)
    ids = np.arange(len(classes))
    return Partition(ids, offsets, ids[:0], none, ids[:0], class_of=classes)


def test_the_tables_of_a_run():
    curve = by_round(GEOMETRY)
    assert curve["round"].tolist() == [1, 2, 3]
    assert curve["clients"].tolist() == [2, 1, 3]
    assert curve["cosine"].isna().tolist() == [False, True, False]
    assert all(curve[key].dtype == float for key in NUMBERS)
    layers = by_layer(GEOMETRY)
    assert layers["layer"].tolist() == LAYERS * 3
    assert layers.loc[layers["layer"] == "b", "drift"].isna().all()


def test_without_a_record_there_are_empty_tables_of_the_same_columns():
    partition = partition_of([[5, 5], [9, 1], [0, 10]])
    for table, full in (
        (by_round(NOTHING), by_round(GEOMETRY)),
        (by_layer(NOTHING), by_layer(GEOMETRY)),
        (disagreements(NOTHING, partition), disagreements(GEOMETRY, partition)),
    ):
        assert table.empty
        assert list(table.columns) == list(full.columns)


def test_every_pair_of_a_round_with_the_distance_of_its_class_mixes():
    mixes = [[5, 5], [9, 1], [0, 10]]
    found = disagreements(GEOMETRY, partition_of(mixes))
    assert found[["round", "client", "other"]].to_numpy().tolist() == [[1, 0, 2], [3, 0, 1], [3, 0, 2], [3, 1, 2]]
    np.testing.assert_allclose(found["disagreement"], [0.75, 0.5, math.nan, 2.0])
    for row in found.itertuples():
        p, q = (np.array(mixes[k]) / 10 for k in (row.client, row.other))
        slow = (rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum()) / 2 / math.log(2)
        assert row.distance == pytest.approx(slow)


@pytest.mark.parametrize("mixes", [[[10], [10], [10]], None])
def test_without_classes_there_is_no_distance(mixes):
    partition = partition_of([[5, 5], [9, 1], [0, 10]]) if mixes is None else partition_of(mixes)
    partition = replace(partition, class_of=None) if mixes is None else partition
    found = disagreements(GEOMETRY, partition)
    assert found["distance"].isna().all()
    assert math.isnan(correlation(found).rho)
    assert correlation(found).pairs == 0


def made_up_pairs(seed, slope, runs=1, clients=20, rounds=20, per_round=2, trend=1.0):
    """Pairs of clients in rounds: disagreement goes with distance by `slope`, with the round, with the clients
    themselves (some disagree with everybody), and with chance. Returns the pairs and what makes their ranks."""
    draw = np.random.default_rng(seed)
    rows = []
    for run in range(runs):
        place, own = draw.normal(size=(clients, 2)), 0.5 * draw.normal(size=clients)
        for number in range(1, rounds + 1):
            chosen = np.sort(draw.choice(clients, per_round, replace=False))
            for i, j in ((i, j) for i in chosen for j in chosen if i < j):
                distance = np.linalg.norm(place[i] - place[j])
                y = slope * distance + own[i] + own[j] + trend * number / rounds + draw.normal()
                rows.append((run, number, i, j, y, distance))
    return pd.DataFrame(rows, columns=["run", "round", "client", "other", "disagreement", "distance"])


def test_without_a_trend_it_is_spearman_s_rho():
    pairs = made_up_pairs(0, 0.5, rounds=1, per_round=10)
    found = correlation(pairs)
    assert found.rho == pytest.approx(spearmanr(pairs["distance"], pairs["disagreement"]).statistic)
    assert (found.pairs, found.units) == (45, 10)
    assert found.low < found.rho < found.high


def test_a_trend_over_rounds_is_no_relation_and_hides_none():
    hidden = made_up_pairs(1, 1.0, rounds=40, trend=100.0)
    raw = spearmanr(hidden["distance"], hidden["disagreement"]).statistic
    assert correlation(hidden).rho > max(0.2, 2 * raw)


@pytest.mark.parametrize(("runs", "per_round", "rounds"), [(1, 2, 20), (3, 2, 20), (1, 10, 3)])
@pytest.mark.parametrize("slope", [0.0, 0.6])
def test_the_interval_covers_the_truth_as_often_as_it_says(slope, runs, per_round, rounds):
    """In designs with few pairs a client and with many; and it is hardly wider than it needs to be."""
    design = {"runs": runs, "per_round": per_round, "rounds": rounds}
    found = [correlation(made_up_pairs(seed, slope, **design)) for seed in range(1000, 1100)]
    z, low, high = (np.arctanh([getattr(it, what) for it in found]) for what in ("rho", "low", "high"))
    truth = z.mean()
    assert (math.tanh(truth) > 0.2) == (slope > 0)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.92
    assert np.median(high - low) < 1.6 * 2 * 1.96 * z.std()


def test_taking_pairs_for_independent_would_claim_too_much():
    """What the jackknife is for: among many pairs of few clients an ordinary interval misses far too often."""
    design = {"per_round": 10, "rounds": 4, "clients": 10}
    missed = {"pairs": 0, "clients": 0}
    for seed in range(100):
        pairs = made_up_pairs(seed, 0.0, **design)
        it = correlation(pairs)
        half = 1.96 / math.sqrt(len(pairs) - 3)
        missed["pairs"] += abs(math.atanh(it.rho)) > half
        missed["clients"] += it.low > 0 or it.high < 0
    assert missed["pairs"] > 2 * missed["clients"]
    assert missed["clients"] <= 12


@pytest.mark.parametrize("kind", ["few", "equal", "empty"])
def test_too_little_to_tell_gives_no_interval(kind):
    pairs = made_up_pairs(0, 1.0, rounds=4 if kind == "few" else 20)
    if kind == "equal":
        pairs = pairs.assign(distance=0.5)
    found = correlation(pairs.iloc[:0] if kind == "empty" else pairs)
    assert math.isnan(found.rho)
    assert math.isnan(found.low)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    study = make_study((0.5, "iid"), num_seeds=3, clients=10, rounds=20)
    return read_runs(write_study(tmp_path_factory.mktemp("runs") / "it", study, per_client=30))


def test_a_run_with_very_many_pairs_has_the_wider_interval(monkeypatch):
    pairs = made_up_pairs(3, 0.5, per_round=5)
    one = correlation(pairs)
    monkeypatch.setattr(dyads, "MOST_LEFT_OUT", 10)
    other = correlation(pairs)
    assert other.rho == one.rho
    assert other.low < one.low < one.high < other.high


def test_the_figure_says_what_the_rounds_were_made_to_say(runs):
    made = section("update_geometry", runs)
    (fact,) = made.facts
    assert isinstance(fact, Trend)
    assert fact.where.startswith("alpha = 0.5, where distances between clients vary most")
    assert 0 < fact.low < fact.rho < fact.high
    assert [spec.title for spec in made.figures] == [
        "Disagreement of two clients' updates",
        "Error of averaging A and B apart",
    ]
    assert made.numbers["seed"].nunique() == 3
    assert made.table["cell"].tolist() == runs.cells


def changed(runs, change):
    """The runs with every table of their updates put through `change`."""
    probes = [{"update_geometry": change(run.probes["update_geometry"])} for run in runs.members]
    members = [replace(run, probes=tables) for run, tables in zip(runs.members, probes, strict=True)]
    return replace(runs, members=members)


def test_without_a_record_the_figure_says_so(runs):
    made = section("update_geometry", changed(runs, lambda table: table[:0]))
    assert made.facts == (NotMeasured("relation of clients' updates"),)
    assert not made.figures


def test_one_client_a_round_has_nobody_to_disagree_with(runs):
    def alone(table):
        table = table[table["scope"] != "pair"]
        table = table[(table["scope"] != "client") | ~table.duplicated(["round", "scope"])]
        return table.assign(cosine=np.nan, averaging_error=table["averaging_error"] * 0)

    figure = drawn("update_geometry", changed(runs, alone))
    assert figure.conclusion.startswith("No two clients")
    assert [plot.title for plot in figure.plots] == ["Error of averaging A and B apart"]
    assert "nan" not in str(figure.shown.to_numpy()).lower()
