"""Outcomes on texts that all runs share, worked out by hand for two clients and two classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cllora.analysis import Results, results
from cllora.metrics import RunRecord, losses, metrics
from cllora.metrics.matched import class_mixes, expected_changes
from cllora.types import Partition
from support.reports import section
from support.synthetic import make_study, record_of, write_study

Texts = Mapping[int, tuple[float, int]]
PARTITION = Partition(
    train_ids=np.array([3, 4, 5, 6, 7]),
    train_offsets=np.array([0, 4, 5]),
    test_ids=np.array([8, 9]),
    test_offsets=np.array([0, 1, 2]),
    global_test=np.array([0, 1, 2]),
    class_of=np.array([0, 0, 1, 0, 0, 0, 1, 1, 0, 1]),
)
"""Client 0 holds three texts of class 0 and one of class 1, client 1 one of class 1; of the global test set's 12 tokens
4 are of class 0, in two texts, and 8 of class 1, in one."""
MODELS: list[tuple[int, str, Texts]] = [
    (0, "global", {0: (8.0, 2), 1: (4.0, 2), 2: (24.0, 8)}),  # 3 and 3 by class
    (1, "global", {0: (6.0, 2), 1: (4.0, 2), 2: (20.0, 8)}),  # 2.5 and 2.5
    (2, "global", {0: (4.0, 2), 1: (4.0, 2), 2: (20.0, 8)}),  # 2 and 2.5
    (1, "local/0", {0: (4.0, 2), 1: (4.0, 2), 2: (22.0, 8)}),  # 2 and 2.75
    (2, "local/1", {0: (5.0, 2), 1: (4.0, 2), 2: (16.0, 8)}),  # 2.25 and 2
]
OWN: Texts = {8: (5.0, 2), 9: (9.0, 3)}


def record(models: list[tuple[int, str, Texts]] = MODELS, partition: Partition = PARTITION) -> RunRecord:
    rows = [
        (number, model, sample, nll, tokens)
        for number, model, texts in models
        for sample, (nll, tokens) in {**texts, **(OWN if model == "global" else {})}.items()
    ]
    table = pd.DataFrame(rows, columns=["round", "model", "sample", "nll", "tokens"])
    return record_of(losses.tables(table, partition), [], partition)


def even_model() -> RunRecord:
    """A control whose global model gains every class 0.6 nats per token."""
    after = {0: (6.8, 2), 1: (2.8, 2), 2: (19.2, 8)}
    return record([MODELS[0], (2, "global", after)])


def test_a_client_stands_for_its_mix_of_classes() -> None:
    assert class_mixes(PARTITION, np.array([0, 1])).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert np.isnan(class_mixes(PARTITION, np.array([0]))[1]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("matched_change", (-1.0 + 2 * (0.25 * -0.25 - 1.0) / 1.25) / 3),
        ("matched_change_per_sample", (2 * -1.0 + (0.25 * -0.25 - 1.0) / 1.25) / 3),
        ("matched_turn", (-1.0 + 2 * (0.25 * -0.25 - 0.5) / 1.25) / 3),
        ("matched_gap", (-0.5 + 2 * (0.25 * 0.25 - 0.5) / 1.25) / 3),
        ("local_spread", 0.125),  # of 2.5 - 2.5 and 25 / 12 - 28 / 12
    ],
)
def test_own_adapters_on_texts_of_the_classes_that_their_clients_hold(name: str, value: float) -> None:
    """By class, each client by its share of it; then by the classes' shares of the global test set."""
    assert metrics.metric(name).value(record()) == pytest.approx(value)


def test_what_clients_gain_is_set_against_what_they_would_gain_from_the_control() -> None:
    """Client 0 has 1.5 tokens of class 0 for every 2 of class 1."""
    assert expected_changes(record(), record()).tolist() == pytest.approx([-2.5 / 3.5, -0.5])
    assert expected_changes(record(), even_model()).tolist() == pytest.approx([-0.6, -0.6])
    both = record(), even_model()
    assert metrics.metric("excess_spread").value(*both) == pytest.approx((2.5 / 3.5 - 0.5) / 2)
    assert metrics.metric("excess_worst_tenth").value(*both) == pytest.approx(-0.5 + 0.6)
    assert metrics.metric("excess_spread").value(both[1], both[1]) == 0


def test_runs_on_other_global_test_texts_are_not_set_against_each_other() -> None:
    other = replace(record(), partition=replace(PARTITION, global_test=np.array([0, 1])))
    assert math.isnan(metrics.metric("excess_spread").value(other, even_model()))


SHARED = ("matched_change", "matched_turn", "matched_gap", "local_spread")


def test_how_few_test_texts_clients_have_does_not_matter() -> None:
    """Under quantity skew small clients are tested on a single text, and that alone made clients unequal and local
    outcomes noisy; a correction for their number took real differences for chance, and chance for differences. What is
    compared now is the same whichever texts clients keep for tests."""
    few = replace(PARTITION, test_ids=np.array([9]), test_offsets=np.array([0, 0, 1]))
    for name in SHARED:
        assert metrics.metric(name).value(record(partition=few)) == metrics.metric(name).value(record())
    both = record(partition=few), even_model()
    assert metrics.metric("excess_spread").value(*both) == metrics.metric("excess_spread").value(record(), even_model())
    assert record(partition=few).tests_fingerprint != record().tests_fingerprint


def test_without_own_adapters_or_classes_there_is_nothing_or_one_class() -> None:
    none = record([row for row in MODELS if row[1] == "global"])
    assert all(math.isnan(metrics.metric(name).value(none)) for name in SHARED)
    one = record(partition=replace(PARTITION, class_of=None))
    changes = [30 / 12 - 36 / 12, 25 / 12 - 36 / 12]
    assert metrics.metric("matched_change").value(one) == pytest.approx(np.mean(changes))


def test_a_client_of_no_tested_class_is_left_out() -> None:
    """Client 1 holds a class of which the global test set has no text; then all is of client 0's adapter."""
    other = replace(PARTITION, class_of=np.array([0, 0, 1, 0, 0, 0, 1, 2, 0, 1]))
    assert metrics.metric("matched_change").value(record(partition=other)) == pytest.approx((-1.0 + 2 * -0.25) / 3)


def test_the_standard_error_of_a_client_s_change() -> None:
    """Client 0: texts of 1 and 3 tokens that change by -2 and -4, -1.5 per token; 0.5 off either way. Client 1: one."""
    tested = Partition(
        np.array([5, 6]), np.array([0, 1, 2]), np.array([2, 3, 4]), np.array([0, 2, 3]), np.array([0]), np.zeros(7, int)
    )
    rows = [(0, 2, 6.0, 1), (0, 3, 12.0, 3), (0, 4, 10.0, 2), (1, 2, 4.0, 1), (1, 3, 8.0, 3), (1, 4, 9.0, 2)]
    table = pd.DataFrame(rows, columns=["round", "sample", "nll", "tokens"]).assign(model="global")
    clients = losses.client_losses(table, tested)
    variance = (0.25 / 1 + 0.25 / 3) / (3 - 2)
    after = clients[clients["round"] == 1]
    assert after["error"].tolist() == pytest.approx([math.sqrt(variance / 4), math.sqrt(variance / 2)])


def test_oscillation_over_the_control_s() -> None:
    """It is there and four times the control's, if far smaller than what training gains: a margin in nats denied it."""
    swings = [(number, "global", {0: (8.0 - number + 0.02 * (-1) ** number, 2)}) for number in range(8)]
    calm = [(number, "global", {0: (8.0 - number + 0.005 * (-1) ** number, 2)}) for number in range(8)]
    ratio = metrics.metric("oscillation_ratio")
    assert ratio.value(record(swings), record(calm)) == pytest.approx(math.log(4))
    assert ratio.margin == pytest.approx(math.log(1.25))
    still = [(number, "global", {0: (8.0, 2)}) for number in range(8)]
    assert math.isnan(ratio.value(record(swings), record(still)))


OWN_TEXTS = ("change_std", "local_change", "own_gap", "change_worst_tenth")


def compared(folder: Path, axis: str, values: list[object]) -> Results:
    """A study over one axis, whose last value is the control."""
    return results(write_study(folder, make_study(num_seeds=3, grid={axis: values}, control={axis: values[-1]})))


def pairs(of: Results, names: Sequence[str]) -> list[int]:
    return [seeds for name in names for seeds in of.contrasts(name)["seeds"]]


@pytest.fixture(scope="module")
def by_strategy(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return compared(tmp_path_factory.mktemp("runs") / "it", "federation.strategy", ["fedprox", "fedavg"])


@pytest.fixture(scope="module")
def by_alpha(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return compared(tmp_path_factory.mktemp("runs") / "it", "partition.alpha", [0.1, "iid"])


def test_own_test_texts_are_compared_where_they_are_the_same(by_strategy: Results, by_alpha: Results) -> None:
    """Two strategies on one partition test their clients on the same texts; two partitions do not."""
    assert by_strategy.tested_alike
    assert pairs(by_strategy, OWN_TEXTS) == [3] * len(OWN_TEXTS)
    assert not by_alpha.tested_alike
    assert pairs(by_alpha, OWN_TEXTS) == [0] * len(OWN_TEXTS)
    every = (*SHARED, "excess_spread", "excess_worst_tenth", "late_loss")
    assert pairs(by_alpha, every) == [3] * len(every)


def test_sections_on_clients_tell_what_was_compared(by_strategy: Results, by_alpha: Results) -> None:
    told = {"client_spread": "change_std", "fairness": "change_worst_tenth", "local_against_global": "own_gap"}
    shared = {"client_spread": "excess_spread", "fairness": "excess_worst_tenth", "local_against_global": "matched_gap"}
    for name in told:
        for of, metric, note in ((by_strategy, told[name], False), (by_alpha, shared[name], True)):
            made = section(name, of)
            assert made.facts[0].contrast.metric == metric
            assert any("have other test texts than those of its control" in text for text in made.notes) == note
