"""Metrics, and contrasts of them, against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from cllora import stats
from cllora.analysis import contrasts
from cllora.metrics import fairness, losses, measured, metrics
from cllora.types import Environment, Losses, MessageSizes, Partition
from support.synthetic import record_of


def partition() -> Partition:
    """Samples 0 and 1 are the global test set (classes 0 and 1); client 0 is tested on 2 and 3, client 1 on 4."""
    return Partition(
        train_ids=np.array([5, 6, 7]),
        train_offsets=np.array([0, 2, 3, 3]),
        test_ids=np.array([2, 3, 4]),
        test_offsets=np.array([0, 2, 3, 3]),
        global_test=np.array([0, 1]),
        class_of=np.array([0, 1, 0, 0, 1, 0, 0, 1]),
    )


def table(*blocks: tuple[int, str, dict[int, tuple[float, int]]]) -> pd.DataFrame:
    rows = [
        (number, model, sample, nll, tokens)
        for number, model, samples in blocks
        for sample, (nll, tokens) in samples.items()
    ]
    return pd.DataFrame(rows, columns=["round", "model", "sample", "nll", "tokens"])


LOSSES = table(
    (0, "global", {0: (8.0, 2), 1: (24.0, 8), 2: (6.0, 1), 3: (12.0, 3), 4: (10.0, 2)}),
    (1, "global", {0: (6.0, 2), 1: (16.0, 8), 2: (4.0, 1), 3: (8.0, 3), 4: (10.0, 2)}),
    (1, "local/1", {0: (7.0, 2), 1: (18.0, 8), 4: (8.0, 2)}),
    (1, "personal/0", {2: (2.0, 1), 3: (6.0, 3)}),
)

ROUNDS = [
    {"round": 0, "clients": [], "seconds": 1.0},
    {"round": 1, "clients": [{"client": 1, "bytes_up": 30, "bytes_down": 20, "seconds": 1.5}], "seconds": 2.0},
]


def test_global_curve_per_token_and_per_sample() -> None:
    curve = losses.global_curve(LOSSES, partition())
    assert curve["round"].tolist() == [0, 1]
    assert curve["loss"].tolist() == [3.2, 2.2]  # 32 / 10 and 22 / 10
    assert curve["loss_per_sample"].tolist() == [3.5, 2.5]  # (4 + 3) / 2 and (3 + 2) / 2
    assert curve["samples"].tolist() == [2, 2]
    assert curve["tokens"].tolist() == [10, 10]


def test_a_text_without_predicted_tokens_has_no_mean_of_its_own() -> None:
    silent = table((0, "global", {0: (8.0, 2), 1: (0.0, 0)}))
    curve = losses.global_curve(silent, partition())
    assert curve["loss"].tolist() == [4.0]
    assert curve["loss_per_sample"].tolist() == [4.0]


def test_class_curve() -> None:
    curve = losses.class_curve(LOSSES, partition())
    assert list(zip(curve["round"], curve["class"], curve["loss"], strict=True)) == [
        (0, 0, 4.0),
        (0, 1, 3.0),
        (1, 0, 3.0),
        (1, 1, 2.0),
    ]


def test_clients_against_the_base_on_the_same_texts() -> None:
    clients = losses.client_losses(LOSSES, partition())
    after = clients[clients["round"] == 1]
    assert after["client"].tolist() == [0, 1]  # client 2 has no test texts
    assert after["loss"].tolist() == [3.0, 5.0]  # 12 / 4 and 10 / 2
    assert after["base"].tolist() == [4.5, 5.0]
    assert after["change"].tolist() == [-1.5, 0.0]
    assert after["ratio"].tolist() == [3.0 / 4.5, 1.0]


def test_a_text_with_two_owners_counts_for_both() -> None:
    shared = Partition(
        train_ids=np.array([5]),
        train_offsets=np.array([0, 1, 1]),
        test_ids=np.array([2, 2, 3]),
        test_offsets=np.array([0, 1, 3]),
        global_test=np.array([0]),
    )
    clients = losses.client_losses(LOSSES, shared)
    assert clients[clients["round"] == 0]["loss"].tolist() == [6.0, 4.5]
    assert losses.class_curve(LOSSES, shared).empty


def test_local_against_global() -> None:
    gaps = losses.local_gaps(LOSSES, partition())
    assert len(gaps) == 1
    row = gaps.iloc[0]
    assert (row["round"], row["client"]) == (1, 1)
    assert (row["own_local"], row["own_global"], row["own_gap"]) == (4.0, 5.0, -1.0)
    assert (row["own_base"], row["own_change"]) == (5.0, -1.0)
    assert (row["test_local"], row["test_global"]) == (2.5, 2.2)
    assert row["test_gap"] == pytest.approx(0.3)


def test_variance_is_the_population_s() -> None:
    assert fairness.variance([1.0, 3.0]) == 1.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5.0], 5.0), ([1.0, 9.0, 2.0], 9.0), (range(20), 18.5), (range(21), 19.0)],
)
def test_worst_tenth_is_the_top_of_losses_and_at_least_one(values: list[float], expected: float) -> None:
    assert fairness.worst_tenth(list(values)) == expected


def test_jain() -> None:
    assert fairness.jain([2.0, 2.0, 2.0]) == 1.0
    assert fairness.jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert fairness.jain([1.0, 2.0, 3.0]) == pytest.approx(36 / 42)


def test_fairness_is_given_raw_and_relative_to_the_base() -> None:
    fair = fairness.fairness(losses.client_losses(LOSSES, partition())).set_index("round")
    assert fair["clients"].tolist() == [2, 2]
    base, after = fair.loc[0], fair.loc[1]
    assert (base["loss_variance"], base["change_variance"], base["ratio_jain"]) == (0.0625, 0.0, 1.0)
    assert (after["loss_mean"], after["loss_variance"], after["loss_worst_tenth"]) == (4.0, 1.0, 5.0)
    assert after["loss_jain"] == pytest.approx(64 / 68)
    assert (after["change_mean"], after["change_variance"], after["change_std"]) == (-0.75, 0.5625, 0.75)
    assert after["change_worst_tenth"] == 0.0
    assert after["ratio_jain"] == pytest.approx((5 / 3) ** 2 / (2 * (4 / 9 + 1)))


def test_hard_texts_alone_are_no_unfairness() -> None:
    clients = pd.DataFrame({"round": 1, "client": [0, 1], "loss": [1.0, 4.0], "base": [2.0, 5.0]})
    clients = clients.assign(change=clients["loss"] - clients["base"], ratio=0.5)
    fair = fairness.fairness(clients).iloc[0]
    assert fair["loss_variance"] == 2.25
    assert fair["change_variance"] == 0.0
    assert fair["ratio_jain"] == 1.0


def test_every_metric_of_a_run() -> None:
    environment = Environment(communication=MessageSizes(full_bytes=1000))
    out = measured(record_of(losses.tables(LOSSES, partition()), ROUNDS, partition(), environment=environment))
    assert out["rounds"] == 1
    assert (out["base_loss"], out["final_loss"], out["final_loss_per_sample"]) == (3.2, 2.2, 2.5)
    assert out["change"] == pytest.approx(-1.0)
    assert (out["best_loss"], out["best_round"]) == (2.2, 1)
    assert (out["local_loss"], out["local_change"], out["own_gap"], out["personal_loss"]) == (4.0, -1.0, -1.0, 2.0)
    assert (out["bytes_up"], out["bytes_down"], out["bytes_sent"], out["bytes_full"]) == (30, 20, 50, 2000)
    assert out["saved"] == pytest.approx(0.975)
    assert (out["seconds"], out["training_seconds"]) == (3.0, 1.5)
    assert out["area"] == pytest.approx(-0.5)
    assert (out["forgetting"], out["forgetting_worst"], out["forgetting_at_end"]) == (0.0, 0.0, 0.0)
    assert math.isnan(out["oscillation"])  # of one round
    assert set(out) == {metric.name for metric in metrics.every() if not metric.against_control}


def test_what_was_not_measured_is_missing() -> None:
    alone = Partition(np.array([5]), np.array([0, 1]), np.array([], int), np.array([0, 0]), np.array([0, 1]))
    tables = losses.tables(LOSSES[LOSSES["model"] == "global"], alone)
    out = measured(record_of(tables, ROUNDS[:1], alone))
    missing = ("local_loss", "own_gap", "personal_loss", "change_std", "saved", "peak_mb", "position_loss", "barrier")
    assert all(math.isnan(out[key]) for key in missing)


def test_a_client_that_only_downloads_sends_one_message() -> None:
    rounds = [{"clients": [{"bytes_up": 0, "bytes_down": 50, "seconds": 1.0}], "seconds": 1.0}]
    environment = Environment(communication=MessageSizes(full_bytes=100))
    record = record_of(losses.tables(LOSSES, partition()), rounds, partition(), environment=environment)
    assert measured(record)["bytes_full"] == 100


def test_the_loss_in_the_record_of_a_round_is_that_of_the_tables() -> None:
    """What training writes down, and what is computed from the loss table, are one measure."""
    of_round = LOSSES[(LOSSES["round"] == 1) & (LOSSES["model"] == "global")]
    block = Losses("global", *(of_round[column].to_numpy() for column in ("sample", "nll", "tokens")))
    assert losses.mean_losses(block, partition().global_test) == (2.2, 2.5)
    assert losses.mean_losses(block, partition().test(0)) == (3.0, pytest.approx(10 / 3))
    assert all(math.isnan(loss) for loss in losses.mean_losses(block, partition().test(2)))
    silent = Losses("global", np.array([0, 1]), np.array([8.0, 0.0]), np.array([2, 0]))
    assert losses.mean_losses(silent, partition().global_test) == (4.0, 4.0)  # a text without predicted tokens


def test_paired_interval() -> None:
    mean, low, high = stats.paired_interval([1.0, 2.0, 3.0])
    half = 4.302652729749464 / math.sqrt(3)  # t(0.975, 2 degrees) * 1 / sqrt(3)
    assert mean == 2.0
    assert (low, high) == pytest.approx((2 - half, 2 + half))
    assert stats.paired_interval([1.0])[0] == 1.0
    assert all(math.isnan(x) for x in stats.paired_interval([1.0])[1:])


def outcome_rows(*rows: tuple[str, str, int, str, float]) -> pd.DataFrame:
    columns = ["alpha", "strategy", "seed", "progress", "final_loss"]
    return pd.DataFrame(rows, columns=columns).assign(fingerprint="same")


def test_contrasts_pair_by_seed_and_within_the_other_axes() -> None:
    runs = outcome_rows(
        ("0.1", "fedavg", 0, "whole", 3.0),
        ("0.1", "fedavg", 1, "whole", 5.0),
        ("0.1", "scaffold", 0, "whole", 9.0),
        ("iid", "fedavg", 0, "whole", 2.0),
        ("iid", "fedavg", 1, "whole", 3.0),
        ("iid", "scaffold", 0, "whole", 4.0),
    )
    found = contrasts(runs, ["alpha", "strategy"], {"alpha": "iid"}, "final_loss")
    assert found[["alpha", "strategy", "seeds"]].to_numpy().tolist() == [["0.1", "fedavg", 2], ["0.1", "scaffold", 1]]
    assert found["mean"].tolist() == [4.0, 9.0]
    assert found["difference"].tolist() == [1.5, 5.0]  # (1 + 2) / 2; 9 - 4
    half = 12.706204736174707 * math.sqrt(0.5) / math.sqrt(2)  # t(0.975, 1 degree) * s / sqrt(n)
    assert found["low"].iloc[0] == pytest.approx(1.5 - half)
    assert math.isnan(found["low"].iloc[1])


def test_contrasts_leave_out_runs_that_came_less_far() -> None:
    runs = outcome_rows(("0.1", "-", 0, "7", 3.0), ("iid", "-", 0, "whole", 2.0))
    found = contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss")
    assert found["seeds"].tolist() == [0]
    assert math.isnan(found["difference"].iloc[0])


def test_no_control_no_contrasts() -> None:
    assert contrasts(outcome_rows(("1", "-", 0, "whole", 3.0)), ["alpha"], {}, "final_loss").empty


def test_contrasts_leave_out_runs_on_other_data() -> None:
    runs = outcome_rows(("0.1", "-", 0, "whole", 3.0), ("iid", "-", 0, "whole", 2.0))
    runs = runs.assign(fingerprint=["a", "b"])
    assert contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss")["seeds"].tolist() == [0]


def test_a_control_that_is_there_twice_is_refused() -> None:
    runs = outcome_rows(("0.1", "-", 0, "whole", 3.0), ("iid", "-", 0, "whole", 2.0), ("iid", "-", 0, "whole", 2.1))
    with pytest.raises(pd.errors.MergeError):
        contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss")


def family(**losses: tuple[float, ...]) -> pd.DataFrame:
    values = {**losses, "iid": (1.0, 2.0, 3.0)}
    rows = [(alpha, "-", seed, "whole", loss) for alpha, of in values.items() for seed, loss in enumerate(of)]
    runs = outcome_rows(*rows, ("unpaired", "-", 9, "whole", 1.0))
    return contrasts(runs, ["alpha"], {"alpha": "iid"}, "final_loss").set_index("alpha")


def test_where_nothing_differs_the_intervals_of_all_are_bonferroni_s() -> None:
    found = family(a=(3.0, 5.0, 7.0), b=(1.0, 2.5, 2.5))
    half = 6.205346816570705 / math.sqrt(3)  # t(1 - 0.05 / 4, 2 degrees) * 1 / sqrt(3); differences 2, 3, 4
    assert found.loc["a", ["difference", "low_holm", "high_holm"]].tolist() == pytest.approx([3, 3 - half, 3 + half])
    assert found["comparisons"].tolist() == [2, 2, 2]  # the one without a pair does not count
    assert math.isnan(found.loc["unpaired", "low_holm"])
    assert found.loc["unpaired", "answer"] == "no pair of runs to compare"


def test_what_differs_clearly_no_longer_widens_the_others() -> None:
    found = family(a=(3.0, 5.0, 7.0), b=(5.0, 6.01, 6.99))
    half = 4.302652729749464 / math.sqrt(3)  # t(1 - 0.05 / 2, 2 degrees): Holm's second step
    assert found["differs"].tolist() == [True, True, False]
    assert found.loc["a", ["low_holm", "high_holm"]].tolist() == pytest.approx([3 - half, 3 + half])
    assert found.loc["a", "p_holm"] == found.loc["a", "p"]
    assert found.loc["b", "p_holm"] == 2 * found.loc["b", "p"]


def test_one_comparison_keeps_its_interval() -> None:
    rows = [(alpha, "-", seed, "whole", loss) for seed in (0, 1) for alpha, loss in (("a", 3.0 + seed), ("iid", 2.0))]
    alone = contrasts(outcome_rows(*rows), ["alpha"], {"alpha": "iid"}, "final_loss")
    assert alone["low_holm"].tolist() == pytest.approx(alone["low"].tolist())
