"""Every preset: it parses, its names exist, it is listed, and at embedded scale it runs on a tiny model."""

import json
from pathlib import Path

import pytest
import yaml

import cllora
from cllora.errors import UsageError
from cllora.presets import find_study, presets
from cllora.presets.scale import PACKAGES, at_embedded_scale
from cllora.runs.study import check
from cllora.spec import Study
from cllora.store import read_rounds
from cllora.studies.cllora_paper.presets import EPOCHS
from cllora.studies.cllora_paper.presets import STAND_INS as PAPER

STAND_INS = PAPER.models
NAMES = list(presets.names())


@pytest.mark.parametrize("scale", ["", "@embedded"])
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_a_study_with_a_control_and_enough_seeds(name, scale):
    study = find_study(name + scale)
    check(study)
    assert Study.parse(yaml.safe_load(study.to_yaml())) == study
    assert study.name == name.replace("/", "-") + scale
    if name not in {"demo", "real", "paper/table1"}:
        assert study.control
        assert len(study.seeds) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_at_embedded_scale_nothing_comes_from_a_hub(name):
    for cell in find_study(f"{name}@embedded").cells():
        assert cell.experiment.model.name in {*STAND_INS.values(), "embedded-rotary"}
        assert cell.experiment.data.hub is None
        assert cell.experiment.federation.num_rounds <= 8
        assert cell.experiment.local.learning_rate >= 3e-4


@pytest.mark.parametrize("name", NAMES)
def test_at_embedded_scale_the_question_stays(name):
    study, small = find_study(name), find_study(f"{name}@embedded")
    assert small.base.partition == study.base.partition
    assert small.seeds == study.seeds
    assert small.control == study.control
    kept = {axis for axis in study.grid if axis not in {"model.name", "data.hub"}}
    assert kept <= set(small.grid)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_listed_with_what_it_asks(command, name):
    listed = json.loads(command("list", "presets", "--json")[1])["presets"]
    assert len(listed[name]["help"]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_runs_at_embedded_scale(name, tiny_models, texts, tmp_path):
    """Shrunk to one cell (of `features` one each), one round of one step, a tiny model and made-up texts."""
    study = find_study(f"{name}@embedded")
    whole = {"data.corpus.packages", "partition.by"}
    stretched = study.base.model.positions != "as_trained"
    values = {axis: values[0 if axis == "partition.alpha" else -1] for axis, values in study.grid.items()}
    settings = [f"{axis}={json.dumps(value)}" for axis, value in values.items() if axis not in whole]
    settings += [
        f"model.name={tiny_models('llama' if stretched else 'opt')}",
        "model.device=cpu",
        "model.precision=float32",
        f"data.path={texts}",
    ]
    settings += ["federation.num_rounds=1", "local.steps=1", "seeds=1", "partition.min_samples=5"]
    if stretched:
        settings += ["model.context=256", "evaluation.passkey=0"]
    elif study.base.model.context > 64 or "model.context" in study.grid:
        settings.append("model.context=64")
    folder = cllora.run(find_study(f"{name}@embedded", settings), tmp_path / "out")
    cells = list(folder.glob("*/rounds.jsonl"))
    assert len(cells) == len(study.grid.get("partition.by", [1]))
    for path in cells:
        assert [record["round"] for record in read_rounds(path.parent)] == [0, 1]


def test_the_papers_epochs_go_with_its_models():
    found = {(c.experiment.model.name, c.experiment.local.epochs) for c in find_study("paper/length").cells()}
    assert found == set(EPOCHS.items())
    assert len(find_study("paper/length").cells()) == 3 * 4 * 5
    one = find_study("paper/length", ["model.name=facebook/opt-1.3b"])
    assert {cell.experiment.local.epochs for cell in one.cells()} == {1}
    two = find_study("paper/length", ["model.name=[facebook/opt-125m, facebook/opt-350m]", "local.epochs=2"])
    assert {cell.experiment.local.epochs for cell in two.cells()} == {2}
    assert two.where == {}


@pytest.mark.parametrize("name", ["paper/length", "paper/table1", "size/drift"])
def test_an_axis_over_models_becomes_one_over_stand_ins(name):
    study, small = find_study(name), find_study(f"{name}@embedded")
    assert small.grid["model.name"] == tuple(STAND_INS[model] for model in study.grid["model.name"])
    assert list(small.grid) == list(study.grid)
    assert len(small.cells()) == len(study.cells())


def test_the_papers_epochs_stay_in_proportion_at_embedded_scale():
    found = {c.experiment.model.name: c.experiment.local.epochs for c in find_study("paper/length@embedded").cells()}
    assert found == {"embedded-64": 10, "embedded-128": 6, "embedded": 2}
    assert {found[STAND_INS[model]] / epochs for model, epochs in EPOCHS.items()} == {2}
    assert {c.experiment.local.epochs for c in find_study("size/drift@embedded").cells()} == {2}


def test_one_size_at_embedded_scale_is_the_widest_base_as_the_demo_trains_it():
    one = find_study("paper/length@embedded", ["model.name=embedded"])
    fields = at_embedded_scale(presets.get("paper/length")()).to_mapping()
    without = {"grid": {"partition.alpha": [0.1, 1, 100, "iid"]}, "where": {}}
    assert [(cell.name, cell.experiment) for cell in one.cells()] == [
        (cell.name, cell.experiment) for cell in Study.parse({**fields, **without}).cells()
    ]
    assert one.cells()[0].name == "alpha=0.1,seed=0"
    assert {(c.experiment.model.name, c.experiment.local.epochs) for c in one.cells()} == {("embedded", 2)}


def test_models_without_a_stand_in_leave_the_axis():
    models = ["facebook/opt-125m", "facebook/opt-350m", "mine/large"]
    where = {"model.name": {"mine/large": {"local.epochs": 1}, "facebook/opt-350m": {"lora.r": 4}}}
    fields = {"grid": {"model.name": models}, "control": {"model.name": "facebook/opt-350m"}, "where": where}
    small = at_embedded_scale(Study.parse(fields))
    assert small.grid == {"model.name": ("embedded-64", "embedded-128")}
    assert small.control == {"model.name": "embedded-128"}
    assert small.where == {}
    fields = {"grid": {"model.name": ["mine/small", "mine/large"]}, "control": {"model.name": "mine/small"}}
    small = at_embedded_scale(Study.parse(fields))
    assert (small.grid, small.control, small.base.model.name) == ({}, {}, "embedded")


def test_rates_grow_and_data_sets_become_packages_at_embedded_scale():
    assert find_study("ablate/hyper@embedded").grid["local.learning_rate"] == (6e-4, 3e-3, 6e-3)
    packages = find_study("cross/datasets@embedded").grid["data.corpus.packages"]
    assert packages == tuple(list(group) for group in PACKAGES)
    names = [cell.name for cell in find_study("cross/datasets@embedded").cells()]
    assert "packages=numpy+scipy+sympy,alpha=0.1,seed=0" in names


def test_the_rank_alone_varies_and_not_the_adapters_scale():
    cells = find_study("ablate/rank").cells()
    assert {cell.experiment.lora.lora_alpha / cell.experiment.lora.r for cell in cells} == {8}
    assert {cell.experiment.lora.r for cell in cells} == {1, 2, 4, 8, 16}


def test_own_texts_take_the_place_of_an_axis_over_data_sets():
    study = find_study("cross/datasets", ["data.path=mine.jsonl", "data.text=text"])
    assert set(study.grid) == {"partition.alpha"}
    assert study.base.data.path == "mine.jsonl"
    assert study.where == {}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"model.nme": {"embedded": {"local.epochs": 1}}}, "unknown field 'model.nme'; did you mean 'model.name'"),
        ({"model.name": {"embeded": {"local.epochs": 1}}}, "never embeded in this study; it is embedded"),
        ({"model.name": {"embedded": {"local.epocs": 1}}}, "did you mean 'epochs'"),
        ({"model.name": {"embedded": {"local.epochs": 0}}}, "epochs"),
        ({"model.name": {"embedded": {"partition.alpha": 1}}}, "partition.alpha has values of its own"),
        ({"model.name": {"embedded": 5}}, "where: give fields by value"),
        ([1], "where: give fields by value"),
    ],
)
def test_where_is_held_to_the_study(where, message):
    with pytest.raises(UsageError, match=message):
        Study.parse({"grid": {"partition.alpha": [0.1, "iid"]}, "where": where})


def test_a_case_is_found_whatever_its_number_is_written_like():
    study = Study.parse({"lora": {"lora_alpha": 16}, "where": {"lora.lora_alpha": {16: {"lora.r": 4}}}})
    assert study.cells()[0].experiment.lora.r == 4


def test_a_field_that_has_its_default_can_go_with_others_whether_it_is_written_down_or_not():
    where = {"lora.train": {"lora": {"local.epochs": 7}, "full": {"local.epochs": 2}}}
    fields = {"grid": {"lora.train": ["lora", "full"]}, "where": where}
    assert [cell.experiment.local.epochs for cell in Study.parse(fields).cells()] == [7, 2]
    assert Study.parse(fields, ["lora.train=lora"]).cells()[0].experiment.local.epochs == 7


def test_an_axis_is_not_added_to_what_is_no_grid():
    with pytest.raises(UsageError, match="grid: give every axis a list of values"):
        Study.parse({"grid": ["lora.r"]}, ["grid.lora.r=[1, 2]"])


def test_a_name_or_a_scale_that_is_not_there_is_one_line():
    with pytest.raises(UsageError, match="did you mean 'paper/length'"):
        find_study("paper/lenght@embedded")
    with pytest.raises(UsageError, match="did you mean 'embedded'"):
        find_study("paper/length@embeded")


OWN = '''"""My presets."""
from cllora.presets import demo, presets
from cllora.spec import Study

@presets.register("my/ranks")
def ranks() -> Study:
    """The demo with the rank varied."""
    return Study.parse({**demo().to_mapping(), "name": "my-ranks", "grid": {"lora.r": [1, 2]}, "control": {}})
'''


def test_a_preset_from_ones_own_file_can_be_named(command, tmp_path):
    mine = tmp_path / "mine_with_presets.py"
    mine.write_text(OWN)
    code, out, err = command("show", "my/ranks@embedded", "--load", mine)
    assert code == 0, err
    shown = yaml.safe_load(out)
    assert shown["grid"] == {"lora.r": [1, 2]}
    assert shown["load"] == [str(mine)]
    assert "my/ranks" in command("list", "presets", "--load", mine)[1]
    code, _, err = command("show", "demo", "--load", tmp_path / "none.py")
    assert code == 2
    assert err.startswith("cllora: load: there is no file")
    assert len(err.splitlines()) == 1


def test_the_docs_have_every_preset_in_the_table():
    page = (Path(__file__).parents[1] / "docs" / "presets.md").read_text()
    for name in NAMES:
        assert f"| `{name}` |" in page
