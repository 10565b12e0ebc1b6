"""The loss around the last average: the plane, the line and the barrier, by hand and on a real learner."""

import math

import numpy as np
import pytest

from cllora.analysis import results as read_runs
from cllora.probes.loss_surface import LINE, Plane, barrier, finite, rise, surface
from cllora.runs import run
from cllora.runs.probing import TEXTS
from cllora.spec import Study
from cllora.store import probe_names, read_partition, read_probe, read_rounds, write_probe
from support.learning import learner_of, random_adapter
from support.reports import drawn, section
from support.samples import NUM_TEXTS
from support.studies import study_fields
from support.synthetic import make_study, write_study

T = np.linspace(0, 1, LINE)


def adapters(count, size=40, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


@pytest.mark.parametrize("of", [lambda t: (t - 0.3) ** 2, lambda t: 3 - t, np.exp, np.zeros_like])
def test_a_convex_function_has_no_barrier(of):
    assert rise(T, of(T)).max() == pytest.approx(0, abs=1e-12)


def test_a_ridge_is_as_high_as_it_rises_above_the_line_between_its_ends():
    assert rise(T, 2 + T + np.sin(np.pi * T)).max() == pytest.approx(1)
    assert math.isnan(rise(T, np.where(T == 0.5, np.nan, 1)).max())


def test_the_plane_goes_through_its_three_adapters_at_their_distances():
    sent, one, other = adapters(3)
    plane = Plane.through(sent, one, other)
    assert plane.u @ plane.u == pytest.approx(1)
    assert plane.v @ plane.v == pytest.approx(1)
    assert plane.u @ plane.v == pytest.approx(0, abs=1e-12)
    places = [plane.place(w) for w in (sent, one, other)]
    for (x, y, off), w in zip(places, (sent, one, other), strict=True):
        assert off == pytest.approx(0, abs=1e-5)
        np.testing.assert_allclose(plane.at(x, y), w, atol=1e-5)
    assert places[0] == (0, 0, 0)
    assert places[1][:2] == pytest.approx((np.linalg.norm(one - sent), 0), abs=1e-5)
    assert math.dist(places[1], places[2]) == pytest.approx(np.linalg.norm(one - other), rel=1e-5)
    average = (0.25 * one + 0.75 * other).astype(np.float32)
    np.testing.assert_allclose(
        plane.place(average)[:2], 0.25 * np.array(places[1][:2]) + 0.75 * np.array(places[2][:2])
    )


def test_an_adapter_off_the_plane_is_at_its_foot():
    e = np.eye(4, dtype=np.float32)
    plane = Plane.through(e[0] * 0, 2 * e[0], e[0] + 3 * e[1])
    assert plane.place(5 * e[0] - e[1] + 7 * e[2]) == pytest.approx((5, -1, 7))


@pytest.mark.parametrize("updates", [(1, 2), (1, -1), (0, 1), (0, 0)])
def test_updates_of_one_direction_have_no_second_axis_and_end_well(updates):
    sent, d = adapters(2)
    points = {"sent": sent, **{f"client {k}": sent + np.float32(c) * d for k, c in enumerate(updates)}}
    found = surface(points, lambda w: float(w.sum()), 3)
    assert np.isfinite(found[["loss"]].to_numpy()).all()
    assert len(found) == 3 + 3 * 3 + LINE


def bowl(w):
    return float((w.astype(np.float64) ** 2).sum())


def kind(table, name):
    return table[table["kind"] == name].reset_index(drop=True)


def test_a_bowl_is_a_bowl():
    sent, one, other, far = adapters(4)
    points = {"sent": sent, "client 1": one, "client 5": other, "client 6": far, "average": (one + other + far) / 3}
    found = surface(points, bowl, 5)
    plane, named, grid, line = Plane.through(sent, one, other), *(kind(found, k) for k in ("point", "grid", "line"))
    assert named["name"].tolist() == list(points)
    np.testing.assert_allclose(named["loss"], [bowl(w) for w in points.values()])
    xs, ys = grid["x"].unique(), grid["y"].unique()
    for values, inside in ((xs, named["x"]), (ys, named["y"])):
        assert (values[0] < inside).all()
        assert (inside < values[-1]).all()
    assert grid[["x", "y"]].to_numpy().tolist() == [[x, y] for y in ys for x in xs]
    np.testing.assert_allclose(grid["loss"], [bowl(plane.at(x, y)) for y in ys for x in xs])
    np.testing.assert_allclose(np.diff(xs), np.diff(ys))
    np.testing.assert_allclose(line["loss"], [bowl((1 - t) * one + t * other) for t in T], rtol=1e-5)
    assert barrier(found)["barrier"] == pytest.approx(0, abs=1e-6)


def test_a_loss_that_is_not_finite_is_nan():
    sent, one, other = adapters(3)
    found = surface({"sent": sent, "client 1": one, "client 2": other}, lambda _: math.inf, 2)
    assert found["loss"].isna().all()
    assert math.isnan(barrier(found)["barrier"])
    assert finite([1.0, -math.inf]).tolist()[0] == 1.0


def test_at_the_averages_place_the_surface_is_the_averages_own_loss(tiny_models):
    """On a real learner: two clients, so that their average lies in the plane."""
    learner = learner_of(tiny_models("opt"))
    sent = learner.initial(0)
    one, other = (sent + random_adapter(learner, seed) for seed in (1, 2))
    average = np.asarray(0.3 * one + 0.7 * other, np.float32)
    ids = np.arange(0, 60, 5)

    def loss(adapter):
        block = learner.evaluate("it", adapter, ids)
        return float(block.nll.sum() / block.tokens.sum())

    found = surface({"sent": sent, "client 0": one, "client 1": other, "average": average}, loss, 3)
    place = kind(found, "point").iloc[3]
    assert place["off"] < 1e-4
    assert place["loss"] == loss(average)
    assert loss(Plane.through(sent, one, other).at(place["x"], place["y"])) == pytest.approx(loss(average), rel=1e-6)
    assert kind(found, "line")["loss"][0] == pytest.approx(loss(one), rel=1e-6)


def test_a_run_measures_what_its_own_rounds_say(tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("llama"), texts, evaluation={"surface": 3})
    study = Study.parse({**fields, "grid": {"partition.alpha": [0.1]}, "control": {}})
    cell = run(study, tmp_path) / "alpha=0.1,seed=0"
    assert probe_names(cell) == ["loss_surface", "update_geometry"]
    found, rounds = read_probe(cell, "loss_surface"), read_rounds(cell)
    assert set(found["round"]) == {3}
    assert barrier(found)["barrier"] >= 0
    points = kind(found, "point").set_index("name")
    trained = [f"client {client['client']}" for client in rounds[-1]["clients"]]
    assert list(points.index) == ["sent", *trained, "average", "global"]
    assert points["loss"]["global"] == pytest.approx(points["loss"]["average"], rel=1e-6), "FedAvg"
    assert points["x"][trained[0]] > 0
    geometry = read_probe(cell, "update_geometry").query("scope == 'client' and round == 3")
    norms = [math.hypot(points["x"][name], points["y"][name]) for name in trained]
    assert norms == pytest.approx(geometry["norm"].tolist(), rel=1e-4)
    # 40 texts are tested on, which is no more than are taken: the loss is the round's own.
    assert len(read_partition(cell).global_test) == found["texts"][0] == NUM_TEXTS // 10 < TEXTS
    assert points["loss"]["global"] == pytest.approx(rounds[-1]["global_loss"], rel=1e-6)


def made_up_surface(high):
    sent, one, other = adapters(3)
    points = {"sent": sent, "client 2": one, "client 7": other, "average": (one + other) / 2}
    table = surface({**points, "global": (one + other) / 2}, bowl, 5)
    return table.assign(rise=np.where(table["kind"] == "line", high, np.nan), texts=64)


def test_the_figure_marks_the_adapters_and_compares_barriers(tmp_path):
    study = make_study(num_seeds=3)
    folder = write_study(tmp_path, study)
    one = folder / study.cells()[0].name
    assert not section("loss_surface", read_runs(folder)).asked
    assert not drawn("loss_surface", read_runs(one)).measured
    for cell in study.cells():
        high = (0.5 if "0.1" in cell.name else 0.1) + 0.01 * cell.experiment.seed
        write_probe(folder / cell.name, "loss_surface", 3, made_up_surface(high), every_round=False)
    figure = drawn("loss_surface", read_runs(folder))
    assert [plot.title for plot in figure.plots] == ["alpha = 0.1, seed 0", "alpha = iid, seed 0"]
    contour, marks = figure.plots[0].chart.data
    assert np.shape(contour.z) == (5, 5)
    assert list(marks.text) == ["sent", "client 2", "client 7", "average"], "global is the average"
    (fact,) = section("loss_surface", read_runs(folder)).facts
    assert (fact.contrast.metric, fact.contrast.mean) == ("barrier", pytest.approx(0.51))
    assert len(figure.table) == 6
    np.testing.assert_allclose(
        figure.table["gain_of_averaging"], figure.table["clients_mean"] - figure.table["average"]
    )
    assert drawn("loss_surface", read_runs(one)).measured
