"""The tables for the terminal: 80 columns, everything readable, the doubt said."""

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from cllora.analysis import results as read_runs
from cllora.metrics import metrics
from cllora.reports.mixes import BAR, partition_view
from cllora.reports.terminal import results_table
from support.synthetic import make_partition, make_study, write_study


def printed(shown: RenderableType) -> str:
    written = io.StringIO()
    console = Console(width=80, file=written)
    console.print(shown)
    return written.getvalue()


def test_results_fit_80_columns(tmp_path: Path) -> None:
    text = printed(results_table(write_study(tmp_path, make_study((0.1, 1, 100, "iid"), num_seeds=2))))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["iid"][2] == "control"
    assert "±" in rows["0.1"][1]
    assert rows["0.1"][-1].endswith("%")
    assert "One seed" not in text


def test_results_of_one_seed_say_so(tmp_path: Path) -> None:
    text = printed(results_table(read_runs(write_study(tmp_path, make_study()))))
    assert "One seed" in " ".join(text.split())
    assert "±" not in text


def test_what_stands_in_a_column_is_told_below(tmp_path: Path) -> None:
    text = " ".join(printed(results_table(read_runs(write_study(tmp_path, make_study())))).split())
    for name in ("change", "matched_change", "excess_spread", "excess_worst_tenth", "bytes_sent"):
        shown = metrics.metric(name)
        assert f"{shown.short}: {shown.title}" in text


def test_clients_own_texts_are_shown_where_they_are_the_same_everywhere(tmp_path: Path) -> None:
    axis = {"federation.strategy": ["fedprox", "fedavg"]}
    alike = make_study(grid=axis, control={"federation.strategy": "fedavg"}, num_seeds=2)
    text = " ".join(printed(results_table(write_study(tmp_path, alike))).split())
    for name in ("change_std", "change_worst_tenth"):
        assert f"{metrics.metric(name).short}: {metrics.metric(name).title}" in text
    assert metrics.metric("excess_spread").title not in text


@pytest.mark.parametrize("clients", [4, 60])
def test_partition_view(clients: int) -> None:
    experiment = make_study(clients=clients).cells()[0].experiment
    partition = make_partition(experiment)
    text = printed(partition_view(partition, experiment))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    bars = [
        word for line in text.splitlines() for word in line.split() if len(word) == BAR and set(word) <= set("12345")
    ]
    assert len(bars) == min(clients, 40)
    assert ("of 60 clients" in text) == (clients == 60)
    for sentence in partition.heterogeneity.warnings:
        assert " ".join(sentence.split())[1:] in " ".join(text.split())


def test_a_bar_shows_the_shares() -> None:
    experiment = make_study().cells()[0].experiment
    partition = make_partition(experiment)
    text = printed(partition_view(partition, experiment))
    shares = partition.heterogeneity.clients.class_shares[0]
    first = next(line for line in text.splitlines() if line.strip().startswith("0 "))
    for c, share in enumerate(shares):
        assert abs(first.split()[3].count(str(c + 1)) / BAR - share) <= 1 / BAR
