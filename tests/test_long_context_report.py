"""The report on long contexts, from folders with made-up measurements: what it counts, draws, says and warns of."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cllora import claims, seeds, store
from cllora.analysis import Results as Runs
from cllora.analysis import results as read_runs
from cllora.metrics import Tables, metrics
from cllora.metrics.positions import bits_per_byte_of, last_loss_under, loss_under
from cllora.presets import find_study
from cllora.reports import Change, Figure, Range, Share, Statement, say
from cllora.reports.answer import answer
from cllora.spec import Cell, Study
from cllora.types import Partition
from support.reports import drawn, section
from support.scripts import script
from support.synthetic import make_study, record_of, write_study

EDGES = [0, 64, 128, 256]
GAP = {"full": 0.0, "lora": 0.2, "lora+norms+embeddings": 0.001}
"""Nats per token by which what is trained ends above full fine-tuning."""
PARTS = {"full": (0, 1, 3, 9), "lora": (0.3, 0, 0, 0), "lora+norms+embeddings": (0.3, 1, 3, 0)}
LENGTHS, DEPTHS = [16, 256], [0.0, 0.5, 1.0]


def long_study(num_seeds: int = 2, **more: Any) -> Study:
    """The preset's comparison in small."""
    fields: dict[str, Any] = {
        "model": {"name": "embedded", "context": 256},
        "partition": {"scheme": "iid", "num_clients": 4, "local_test": 0},
        "grid": {"lora.train": list(GAP), "model.attention": ["full", "s2"]},
        "control": {"lora.train": "full", "model.attention": "full"},
    }
    return make_study(num_seeds=num_seeds, **{**fields, **more})


def write_long(folder: Path, study: Study, found: int = 0) -> Path:
    """The study's folder with what a long-context run leaves in it; of every key `found` per square after training."""
    write_study(folder, study, per_client=10, tested=4)
    for cell in study.cells():
        place, train = folder / cell.name, cell.experiment.lora.train
        last = cell.experiment.federation.num_rounds
        store.write_probe(place, "loss_by_position", last, positions(cell), every_round=False)
        store.write_probe(place, "passkey", last, keys_found(found), every_round=False)
        seconds = 40.0 if cell.experiment.model.attention.name == "full" else 10.0
        store.write_json(place / "costs.json", {"training_seconds": seconds, "trained_tokens": 1, "peak_mb": 512.5})
        environment = store.read_json(place / "environment.json")
        weights = dict(zip(("lora", "norms", "embeddings", "other"), PARTS[train], strict=True)) | {"positions": 0}
        environment["communication"]["parts"] = {part: int(1e6 * weight) for part, weight in weights.items()}
        store.write_json(place / "environment.json", environment)
    return folder


def positions(cell: Cell) -> pd.DataFrame:
    noise = 0.0002 * seeds.rng(cell.experiment.seed, "made-up positions", cell.name).normal()
    loss = 3 + GAP[cell.experiment.lora.train] - 0.1 * np.arange(3) + noise
    tokens = np.array([630, 640, 1280])
    name = cell.experiment.model.attention.name

    more = {("full", "before"): 1.0, ("full", "after"): 0.0}
    more |= {(name, "before"): 1.5, (name, "after"): 0.5} if name != "full" else {}
    bins = {"start": EDGES[:-1], "stop": EDGES[1:], "tokens": tokens, "texts": 10, "bytes": 7000}
    parts = [
        pd.DataFrame({"pattern": pattern, "when": when, **bins, "nll": (loss + extra) * tokens})
        for (pattern, when), extra in more.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(loss=table["nll"] / table["tokens"])


def keys_found(after: int) -> pd.DataFrame:
    grid = {"length": np.repeat(LENGTHS, len(DEPTHS)), "depth": np.tile(DEPTHS, len(LENGTHS)), "keys": 2, "digits": 5}
    return pd.DataFrame({**grid, "found_before": 0, "nats_before": 4.5, "found_after": after, "nats_after": 2.5})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return read_runs(write_long(tmp_path_factory.mktemp("long") / "study", long_study()))


@pytest.fixture(scope="module")
def figure(runs: Runs) -> Figure:
    return drawn("long_context", runs)


def test_bits_are_of_bytes() -> None:
    assert bits_per_byte_of(24 * math.log(2), 8) == pytest.approx(3)
    assert math.isnan(bits_per_byte_of(1.0, 0))


def test_positions_come_to_the_mean_over_all_tokens_and_to_that_of_the_last_bin() -> None:
    tables = {"pattern": "full", "start": [0, 64, 128], "stop": [64, 128, 256], "tokens": [10, 10, 0], "bytes": 100}
    before, after = {"when": "before", "nll": [30.0, 20, 0]}, {"when": "after", "nll": [20.0, 10, 0]}
    bins = pd.concat([pd.DataFrame({**tables, **sums}) for sums in (before, after)], ignore_index=True)
    bins = bins[bins["tokens"] > 0].assign(loss=bins["nll"] / bins["tokens"])
    assert [loss_under(bins, "full", when) for when in ("after", "before")] == [1.5, 2.5]
    assert [last_loss_under(bins, "full", when) for when in ("after", "before")] == [1.0, 2.0]
    assert math.isnan(loss_under(bins, "s2"))
    assert math.isnan(last_loss_under(bins, "s2"))
    nobody = Partition(*(np.zeros(n, np.int64) for n in (0, 1, 0, 1, 0)))
    record = record_of(Tables(*[pd.DataFrame()] * 5), [], nobody, probes={"loss_by_position": bins})
    assert [
        metrics.metric(name).value(record) for name in ("position_loss", "last_position_loss", "bits_per_byte")
    ] == [
        1.5,
        1.0,
        pytest.approx(30 / math.log(2) / 100),
    ]


def test_the_findings_table_is_the_report_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of the same results by itself, without the report."""
    findings = script("findings")
    monkeypatch.setattr(findings, "TABLES", tmp_path)
    folder = write_long(tmp_path / "study", long_study())
    findings.write_long_context("longlora", folder)
    shown = drawn("long_context", read_runs(folder)).shown
    table = pd.read_csv(tmp_path / "longlora.csv")
    assert shown is not None
    for name in ("cell", "perplexity (last bin)", "under its own pattern (last bin)", "loss against control"):
        assert table[name].tolist() == shown[name].tolist()
    assert table["bits per byte"].map("{:.3f}".format).tolist() == shown["bits per byte"].tolist()
    assert set(pd.read_csv(tmp_path / "longlora-runs.csv")["seed"]) == {0, 1}


def test_the_findings_verdicts_are_the_claims_own(tmp_path: Path) -> None:
    folder = write_long(tmp_path, long_study())
    as_far = claims.verdict("longlora/as-far", read_runs(folder))
    made = script("findings").judged(folder, ["i", "longlora/as-far"]).set_index("verdict")
    assert set(made.index) == {"not tested", as_far.kind}
    assert made.loc[as_far.kind, "effect [95 % interval]"].startswith(as_far.claim.unit.signed(as_far.effect))
    assert made.loc["not tested", "effect [95 % interval]"] == "–"


def test_the_claim_is_told_with_its_interval_and_what_it_saved(runs: Runs) -> None:
    claim, _ = section("longlora", runs).facts
    assert isinstance(claim, Statement)
    assert claim.numbers == {"difference": pytest.approx(0.001, abs=1e-3), "time_ratio": pytest.approx(0.25)}
    assert "comes as far as full fine-tuning: perplexity 17." in claim.text
    assert "(95 % interval over all 5 comparisons" in claim.text
    margin = claims.verdict("longlora/as-far", runs).comparisons[0].margin
    assert f"only 2 seeds); equivalent within {margin:.2g}. " in claim.text


def test_longlora_s_claim_is_judged(runs: Runs) -> None:
    verdict = claims.verdict("longlora/as-far", runs)
    row = runs.contrasts("position_loss").set_index("cell").loc[verdict.cells[0]]
    assert verdict.kind == ("supported" if row["p_equivalent"] <= 0.05 else "undecided")
    assert verdict.effect == pytest.approx(row["difference"])
    other = replace(runs, control={"train": "lora"})
    assert claims.verdict("longlora/as-far", other).kind == "not tested"


def test_the_table_has_means_ratios_and_both_ways_of_evaluation(runs: Runs, figure: Figure) -> None:
    assert figure.shown is not None
    shown = figure.shown.set_index("cell").loc["train = lora, attention = s2"]
    assert shown["training time over the control's"] == "0.25"
    assert shown["peak memory (MB)"] == "512"
    own, full = (
        [float(x.strip("()")) for x in shown[name].split()]
        for name in ("under its own pattern (last bin)", "perplexity (last bin)")
    )
    assert own == pytest.approx([math.exp(0.5) * x for x in full], abs=0.02)
    control = figure.shown.set_index("cell").loc["train = full, attention = full"]
    assert (control["loss against control"], control["under its own pattern (last bin)"]) == ("control", "–")
    assert len(figure.table) == len(runs.members)
    assert figure.table["message_bytes"].notna().all()


def test_a_picture_for_each_pattern_of_training_has_a_line_for_the_rest(figure: Figure) -> None:
    assert [plot.title for plot in figure.plots] == ["trained under full", "trained under s2"]
    lines = [trace.name for trace in figure.plots[1].chart.data]
    assert set(lines) == {"the base, before training", *(f"train = {train}" for train in GAP)}
    assert [key.name for key in figure.legend][-1] == "the base, before training"
    (full,) = [trace for trace in figure.plots[0].chart.data if trace.name == "train = full"]
    assert full.y[0] == pytest.approx(math.exp(3), rel=1e-3)


def test_what_norms_and_embeddings_bring_is_told_at_every_pattern(runs: Runs) -> None:
    _, parts = section("longlora", runs).facts
    assert isinstance(parts, Statement)
    assert parts.numbers == {f"attention = {name}": pytest.approx(-0.199, abs=1e-3) for name in ("full", "s2")}
    assert "at attention = full and −0.199" in parts.text


def test_one_seed_tells_nothing(runs: Runs) -> None:
    one = replace(runs, members=[run for run in runs.members if run.seed == 0])
    claim, parts = (say(fact) for fact in section("longlora", one).facts)
    assert claim.startswith("One seed cannot tell whether LongLoRA comes as far")
    assert "one seed: no interval" in parts


def test_without_a_control_the_range_is_told_and_nothing_is_compared(runs: Runs) -> None:
    alone = replace(runs, control={})
    made = section("long_context", alone)
    (fact,) = made.facts
    assert isinstance(fact, Range)
    assert min(fact.values.values()) == pytest.approx(2.87, abs=0.1)
    assert made.table["time_ratio"].isna().all()
    assert not any("comes as far" in say(fact) for fact in section("longlora", alone).facts)


def test_training_under_a_pattern_that_leaks_is_labelled_everywhere(tmp_path: Path) -> None:
    grid = {"lora.train": ["full", "lora"], "model.attention": ["full", "s2_roll"]}
    runs = read_runs(write_long(tmp_path / "study", long_study(1, grid=grid)))
    assert len(runs.leaking) == 2
    long, keys = drawn("long_context", runs), drawn("passkey", runs)
    leak = "leaks: not comparable"
    assert long.plots[1].title == f"trained under s2_roll ({leak})"
    for figure in (long, keys):
        assert figure.shown is not None
        assert figure.shown["cell"].str.endswith(f"({leak})").tolist() == [False, True] * 2
    for name in ("long_context", "results"):
        assert [note.count("attention = s2_roll") for note in drawn(name, runs).notes if leak in note] == [2]
    assert long.shown is not None
    assert long.shown["loss against control"].tolist()[1::2] == ["–", "–"]
    assert runs.contrasts("late_loss")["cell"].tolist() == ["train = lora, attention = full"]
    assert "s2_roll" not in " ".join(say(fact) for fact in answer(runs).section.facts)


def test_a_study_of_leaks_alone_compares_nothing(tmp_path: Path) -> None:
    model = {"name": "embedded", "context": 256, "attention": "s2_roll"}
    study = long_study(1, model=model, grid={"lora.train": ["full", "lora"]}, control={"lora.train": "full"})
    runs = read_runs(write_long(tmp_path / "study", study))
    assert runs.contrasts("late_loss").empty
    assert section("effects", runs).figures == ()


def test_the_design_says_what_is_of_long_contexts(tmp_path: Path) -> None:
    model = {"name": "embedded", "context": 256, "attention": "s2"}
    both = {"train": "lora+norms+embeddings"}
    study = long_study(1, model=model, lora=both, grid={"lora.r": [2, 4]}, control={"lora.r": 2})
    told = dict(section("design", read_runs(write_long(tmp_path / "study", study))).table.to_numpy().tolist())
    assert told["attention in training"] == "s2, groups of 64 tokens"
    assert told["attention in evaluation"] == "full"
    assert told["trained"] == "lora+norms+embeddings"
    whole = {"name": "embedded", "context": 256, "positions": "interpolate"}
    study = long_study(1, model=whole, lora={"train": "full"}, grid={"local.epochs": [1, 2]}, control={})
    told = dict(section("design", read_runs(write_long(tmp_path / "full", study))).table.to_numpy().tolist())
    assert told["trained"] == "full"
    assert told["positions"] == "interpolate"
    assert not {"attention in training", "LoRA r", "lora_alpha"} & set(told)


def test_a_model_that_finds_no_passkey_is_said_to_find_none(runs: Runs) -> None:
    figure = drawn("passkey", runs)
    assert section("passkey", runs).facts == (
        Change("passkeys_found", Share(0, 24), Share(0, 144)),
        Change("key_loss", 4.5, 2.5),
    )
    assert figure.plots[0].title == "the base, before training"
    assert figure.plots[1].chart.data[0].text[0] == ["0/4", "0/4", "0/4"]
    assert figure.plots[1].chart.data[0].y == ("16", "256")


def test_found_passkeys_are_counted(tmp_path: Path) -> None:
    study = long_study(1, grid={}, control={})
    runs = read_runs(write_long(tmp_path / "study", study, 1))
    figure = drawn("passkey", runs)
    assert section("passkey", runs).facts[0] == Change("passkeys_found", Share(0, 12), Share(6, 12))
    assert figure.shown is not None
    assert figure.shown["found at 256 tokens"].tolist() == ["3 of 6"]
    long = drawn("long_context", runs)
    assert long.shown is not None
    assert long.shown[["trained", "attention"]].iloc[0].tolist() == ["lora", "full"]


def test_a_base_is_counted_once_whatever_saves_memory(tmp_path: Path) -> None:
    axes = {"model.checkpointing": [False, True], "model.loss_piece": [64, 128]}
    runs = read_runs(write_long(tmp_path / "study", long_study(1, grid=axes, control={}), 1))
    fact = section("passkey", runs).facts[0]
    assert (fact.before, fact.after) == (Share(0, 12), Share(24, 48))
    names = [trace.name for trace in drawn("long_context", runs).plots[0].chart.data]
    assert names.count("the base, before training") == 1


def test_a_message_is_split_by_part_where_there_is_more_than_lora(runs: Runs) -> None:
    figure = drawn("communication", runs)
    assert section("communication", runs).facts[-1].numbers == {"lora": 3e5, "embeddings": 3e6}
    assert [trace.name for trace in figure.plots[1].chart.data] == ["LoRA", "norms", "embeddings", "all other weights"]
    assert figure.plots[1].chart.data[2].x == (3, 3, 0, 0, 3, 3)
    assert figure.shown is not None
    assert figure.shown["a message: embeddings (MB)"].tolist() == ["3", "3", "0", "0", "3", "3"]
    assert {"lora_per_message", "other_per_message"} < set(figure.table.columns)


def test_both_sections_are_asked_for_only_where_they_were_measured(tmp_path: Path) -> None:
    long = read_runs(write_long(tmp_path / "long", long_study(1, grid={}, control={})))
    assert all(section(name, long).asked for name in ("long_context", "passkey"))
    short = read_runs(write_study(tmp_path / "short", make_study(), per_client=12, tested=5))
    assert not any(section(name, short).asked for name in ("long_context", "passkey"))


def test_what_is_trained_is_all_that_differs_between_the_presets_cells() -> None:
    small = find_study("longlora@embedded")
    assert (small.base.model.name, small.base.model.context) == ("embedded-rotary", 4096)
    assert small.base.data.corpus is not None
    assert small.base.data.corpus.name == "long_texts"
    for study, rate in ((find_study("longlora"), 2e-5), (small, 1.2e-3)):
        assert {cell.experiment.local.learning_rate for cell in study.cells()} == {rate}
    assert small.cells()[1].name == "train=full,attention=full,seed=1"
    ranks = find_study("longlora/rank@embedded").cells()
    assert {cell.experiment.lora.lora_alpha / cell.experiment.lora.r for cell in ranks} == {2}
