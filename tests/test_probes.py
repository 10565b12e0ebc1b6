"""Probes: a user's own file, every member at its moment, what is refused, and the tables of folders of 0.1.0."""

import json
import math
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cllora
from cllora.analysis import results as read_runs
from cllora.errors import UsageError
from cllora.probes import probes
from cllora.probes.update_geometry import NUMBERS
from cllora.reports import drawn
from cllora.runs.tracking import probe_figures
from cllora.spec import Experiment, Study
from cllora.spec.sections import PROBE_FIELDS
from cllora.store import ProbeTables, probe_names, read_probe, read_probes_of, read_rounds, write_probe
from support.studies import interrupted, study_fields

OLD = Path(__file__).parent / "data" / "run_of_0.1.0"
MINE = '''
import pandas as pd
from cllora.metrics import NATS
from cllora.probes import probes

@probes.register(when="round", title="worst text", numbers={{"loss": (NATS, "lower")}})
def {name}(model, moment, *, worst: int = 1) -> pd.DataFrame:
    """The texts with the highest loss under the global model."""
    losses = model.evaluate("probe", moment.model, moment.texts)
    table = pd.DataFrame({{"sample": losses.sample, "loss": losses.nll / losses.tokens}})
    return table.nlargest(worst, "loss")
'''


def one_cell(folder, texts, **evaluation):
    return {**study_fields(folder, texts, evaluation=evaluation), "grid": {"partition.alpha": [0.1]}, "control": {}}


def test_a_users_ten_lines_are_a_table_in_the_run_in_the_list_and_for_trackers(tiny_models, texts, tmp_path, command):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(name="worst_texts"))
    asked = [{"name": "worst_texts", "worst": 3}]
    study = Study.parse({**one_cell(tiny_models("opt"), texts, probes=asked), "load": [str(file)]})
    cell = cllora.run(study, tmp_path / "out") / "alpha=0.1,seed=0"
    assert probe_names(cell) == ["update_geometry", "worst_texts"]
    table = read_probe(cell, "worst_texts")
    assert table["round"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert pd.read_parquet(cell / "probes/worst_texts.parquet")[["sample", "loss"]].equals(table[["sample", "loss"]])
    losses = pd.read_parquet(cell / "losses.parquet").query("model == 'global' and round == 3")
    losses = (losses["nll"] / losses["tokens"]).set_axis(losses["sample"])
    assert table.query("round == 3")["loss"].tolist() == losses[table.query("round == 3")["sample"]].tolist()
    results = cllora.results(tmp_path / "out")
    assert "worst_texts" in results.probes
    assert results.probe("worst_texts").drop(columns=["cell", "seed"]).equals(table)
    last = pytest.approx(table.query("round == 3")["loss"].mean())
    assert probe_figures(cell, 3)["worst_texts.loss"] == last
    assert results.metrics["worst_texts.loss"].tolist() == [last]
    code, out, _ = command("list", "probes", "--json", "--load", str(file))
    listed = json.loads(out)["probes"]["worst_texts"]
    assert code == 0
    assert listed["help"] == "The texts with the highest loss under the global model."
    assert listed["options"] == {"worst": 1}


def test_tables_of_every_round_are_the_same_when_a_run_was_interrupted(tiny_models, texts, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(name="worst_again"))
    study = Study.parse({**one_cell(tiny_models("opt"), texts, probes=["worst_again"]), "load": [str(file)]})
    whole = cllora.run(study, tmp_path / "whole") / "alpha=0.1,seed=0"
    interrupted(study, tmp_path / "stopped", round=1)
    stopped = tmp_path / "stopped" / whole.name
    assert read_probe(stopped, "worst_again")["round"].tolist() == [0, 1]
    # What a process that was killed in round 2 may have left.
    write_probe(stopped, "worst_again", 2, pd.DataFrame({"sample": [7], "loss": [9.0]}), every_round=True)
    assert read_probe(stopped, "worst_again")["round"].tolist() == [0, 1]
    cllora.run(study, tmp_path / "stopped")
    for name in ("worst_again", "update_geometry"):
        assert read_probe(stopped, name).equals(read_probe(whole, name))


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("[1, 2]", "must return a pandas DataFrame, not list"),
        ("pd.DataFrame({0: [1]})", "its columns must be named by text"),
        ("pd.DataFrame({'a': [1, 'x', {2}]})", "its table cannot be written"),
    ],
)
def test_what_is_no_table_is_one_line_that_names_the_probe(tiny_models, texts, tmp_path, returns, message):
    @probes.register(when="end")
    def broken(model, moment):
        """Something else."""
        return eval(returns)

    fields = one_cell(tiny_models("opt"), texts, probes=["broken"])
    fields["federation"] |= {"num_rounds": 1}
    with pytest.raises(cllora.runs.failures.CellsFailed, match=f"probe 'broken'.*{message}") as failed:
        cllora.run(Study.parse(fields), tmp_path)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("named", "field", "value"),
    [
        ("attention_entropy", "attention", True),
        ("loss_by_position", "by_position", True),
        ({"name": "loss_surface"}, "surface", 9),
        ({"name": "loss_surface", "side": 3}, "surface", 3),
        ("passkey", "passkey", 5),
        ({"name": "passkey", "keys": 2}, "passkey", 2),
        ("update_geometry", "probes", []),
    ],
)
def test_a_probe_with_a_field_of_its_own_is_the_same_experiment_by_either_spelling(named, field, value):
    model = {"model": {"context": 256}}
    by_name = Experiment.parse({**model, "evaluation": {"probes": [named]}})
    assert by_name == Experiment.parse({**model, "evaluation": {field: value}})
    asked = {probe.name: probe.options for probe in by_name.evaluation.asked}
    name = named if isinstance(named, str) else named["name"]
    assert set(asked) == {"update_geometry", name}
    assert all(probes.bind(probe, options) for probe, options in asked.items())


def test_fields_and_options_have_the_same_defaults():
    for name, (_, option, default) in PROBE_FIELDS.items():
        assert {key: p.default for key, p in probes.options(name).items()} == ({option: default} if option else {})


def test_an_experiment_that_names_no_other_probe_is_written_as_before():
    assert "probes" not in Experiment().model_dump(mode="json")["evaluation"]
    assert Experiment.parse({"evaluation": {"probes": []}}).id == Experiment().id


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"probes": ["passkey"], "passkey": 3}, "evaluation.passkey and evaluation.probes both ask for passkey"),
        ({"probes": ["a", {"name": "a", "b": 1}]}, "'a' is given twice"),
        ({"probes": [{"name": "loss_surface", "side": "wide"}]}, "evaluation.surface"),
        ({"probes": "passkey"}, "evaluation.probes"),
        ({"probes": ["loss_surfaces"]}, "did you mean 'loss_surface'"),
        ({"probes": [{"name": "passkey", "key": 1}]}, "has no option 'key'"),
        ({"probes": [5]}, "evaluation.probes"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_anything_runs(evaluation, message, tiny_models, texts, tmp_path):
    with pytest.raises(UsageError, match=message) as error:
        cllora.run(Study.parse(one_cell(tiny_models("opt"), texts, **evaluation)), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_two_cells_of_one_probe_in_two_spellings_are_the_same(tiny_models, texts, tmp_path):
    fields = {**study_fields(tiny_models("opt"), texts), "control": {}}
    fields["grid"] = {"evaluation.probes": [["loss_surface"], [{"name": "loss_surface", "side": 9}]]}
    with pytest.raises(UsageError, match="the same experiment"):
        cllora.run(Study.parse(fields), tmp_path / "out")


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_says_what_it_is_and_numbers_what_it_measures(name):
    facts, table = probes.facts(name), ProbeTables(OLD)[name]
    assert facts.title
    assert probes.help(name)
    numbers = facts.summary(table[table["round"] == 2])
    assert numbers
    assert all(isinstance(value, float) and math.isfinite(value) for value in numbers.values())


def test_a_damaged_table_is_one_line(tmp_path):
    write_probe(tmp_path, "x", 0, pd.DataFrame({"a": [1]}), every_round=False)
    (tmp_path / "rounds.jsonl").write_text('{"round": 0}\n')
    assert read_probe(tmp_path, "x").to_dict("list") == {"round": [0], "a": [1]}
    assert read_probe(tmp_path, "y").empty
    (tmp_path / "probes/x.parquet").write_bytes(b"rubbish")
    for read in (lambda: read_probe(tmp_path, "x"), lambda: read_probes_of(tmp_path, 0)):
        with pytest.raises(UsageError, match=r"x\.parquet is damaged"):
            read()


def test_parts_of_unlike_types_are_one_table(tmp_path):
    """A number that was undefined in a round, and a round in which nothing was measured."""
    for number, values in enumerate(([1], [0.5, None], [])):
        write_probe(tmp_path, "x", number, pd.DataFrame({"a": values}), every_round=True)
    (tmp_path / "rounds.jsonl").write_text("".join(f'{{"round": {number}}}\n' for number in range(3)))
    table = read_probe(tmp_path, "x")
    assert table["round"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(table["a"], [1, 0.5, math.nan])


def test_a_folder_of_0_1_0_has_the_same_tables_with_the_numbers_of_its_files():
    """`data/run_of_0.1.0` was written by 0.1.0, at its end with all that it could measure."""
    tables, rounds = ProbeTables(OLD), read_rounds(OLD)
    assert list(tables) == ["attention_entropy", "loss_by_position", "loss_surface", "passkey", "update_geometry"]
    kept = {name: json.loads((OLD / f"{name}.json").read_text()) for name in ("attention", "positions", "passkey")}
    last = rounds[-1]["round"]
    for name in list(tables)[:4]:
        assert set(tables[name]["round"]) == {last}
    for when in ("before", "after"):
        heads, keys = tables["attention_entropy"], tables["passkey"]
        assert heads[f"nats_{when}"].tolist() == np.ravel(kept["attention"][when]["nats"]).tolist()
        assert heads[when].tolist() == np.ravel(kept["attention"][when]["share"]).tolist()
        assert keys[f"found_{when}"].tolist() == np.ravel(kept["passkey"][when]["found"]).tolist()
        assert keys[f"nats_{when}"].tolist() == np.ravel(kept["passkey"][when]["nll"]).tolist()
        bins = tables["loss_by_position"].query("when == @when").groupby("pattern")
        for pattern, sums in kept["positions"]["patterns"].items():
            rows = bins.get_group(pattern)
            bins_with_tokens = len(rows)
            assert rows["nll"].tolist() == sums[when]["nll"][:bins_with_tokens]
            assert rows["tokens"].tolist() == sums[when]["tokens"][:bins_with_tokens]
            assert not any(sums[when]["tokens"][bins_with_tokens:])
    assert set(tables["loss_by_position"]["bytes"]) == {kept["positions"]["bytes"]}
    surface, table = json.loads((OLD / "surface.json").read_text()), tables["loss_surface"]
    assert table.query("kind == 'grid'")["loss"].tolist() == np.ravel(surface["loss"]).tolist()
    assert table.query("kind == 'point'")[["name", "x", "y", "off", "loss"]].to_dict("records") == surface["points"]
    assert table["rise"].max() == surface["barrier"] == rounds[-1]["barrier"]
    geometry = tables["update_geometry"]
    for record in rounds[1:]:
        rows = geometry[geometry["round"] == record["round"]].replace({np.nan: None})
        mechanism, clients = record["mechanism"], [client["client"] for client in record["clients"]]
        assert rows.loc[rows["scope"] == "all", list(NUMBERS)].to_dict("records") == [mechanism["total"]]
        assert rows.loc[rows["scope"] == "layer", list(NUMBERS)].to_dict("list") == mechanism["by_layer"]
        assert rows.loc[rows["scope"] == "layer", "layer"].tolist() == rounds[0]["layers"]
        assert rows.loc[rows["scope"] == "client", "drift"].tolist() == mechanism["drifts"]
        assert rows.loc[rows["scope"] == "pair", "cosine"].tolist() == mechanism["cosines"]
        assert rows.loc[rows["scope"] == "pair", ["client", "other"]].to_numpy().tolist() == [
            list(pair) for pair in combinations(clients, 2)
        ]


def test_tables_of_0_1_0_have_the_columns_and_types_of_those_that_are_written_now(tiny_models, texts, tmp_path):
    fields = one_cell(tiny_models("llama"), texts, attention=True, surface=3, by_position=True, passkey=1)
    fields["model"] |= {"context": 256, "positions": "linear"}
    fields["data"] |= {"limit": 60, "test": 0.2}
    fields["partition"] = {"num_clients": 2, "scheme": "iid"}
    cell = cllora.run(Study.parse({**fields, "grid": {}}), tmp_path / "out") / "seed=0"
    new, old = ProbeTables(cell), ProbeTables(OLD)
    assert list(new) == list(old)
    for name in new:
        assert new[name].dtypes.to_dict() == old[name].dtypes.to_dict(), name
        assert list(new[name].columns) == list(old[name].columns), name


def test_the_report_of_a_folder_of_0_1_0_shows_all_that_was_measured(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    runs = read_runs(tmp_path / "old")
    for section in ("attention", "loss_surface", "long_context", "passkey", "update_geometry"):
        assert drawn(section, runs).plots, section
    assert runs.metrics["barrier"].tolist() == [read_rounds(OLD)[-1]["barrier"]]
    assert 'id="passkey"' in cllora.report(tmp_path / "old").read_text()


def as_in_0_1_0(cell: Path) -> None:
    """Put how updates relate where 0.1.0 had it: into the rounds' lines."""
    rounds, table = read_rounds(cell), read_probe(cell, "update_geometry").replace({np.nan: None})
    rounds[0]["layers"] = table.loc[table["scope"] == "layer", "layer"].unique().tolist()
    for record in rounds[1:]:
        rows = dict(iter(table[table["round"] == record["round"]].groupby("scope")))
        record["mechanism"] = {
            "norms": rows["client"]["norm"].tolist(),
            "drifts": rows["client"]["drift"].tolist(),
            "cosines": rows["pair"]["cosine"].tolist(),
            "total": rows["all"].iloc[0][list(NUMBERS)].to_dict(),
            "by_layer": {key: rows["layer"][key].tolist() for key in NUMBERS},
        }
    (cell / "rounds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rounds))
    shutil.rmtree(cell / "probes")


def test_a_run_that_0_1_0_began_goes_on_and_has_one_table(tiny_models, texts, tmp_path):
    study = Study.parse(one_cell(tiny_models("opt"), texts))
    whole = cllora.run(study, tmp_path / "whole") / "alpha=0.1,seed=0"
    interrupted(study, tmp_path / "begun", round=2)
    begun = tmp_path / "begun" / whole.name
    as_in_0_1_0(begun)
    cllora.run(study, tmp_path / "begun")
    assert (begun / "probes").is_dir()
    assert "mechanism" in read_rounds(begun)[1]
    assert read_probe(begun, "update_geometry").equals(read_probe(whole, "update_geometry"))
