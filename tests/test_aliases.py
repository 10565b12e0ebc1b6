"""Other names for a scheme: one and the same run, whichever is written."""

import json

import pytest

from cllora.catalog import named_today
from cllora.corpus import features
from cllora.errors import UsageError, deprecated
from cllora.partition import partitioners
from cllora.presets import find_study
from cllora.spec import ALIASES, Experiment, PartitionSpec, Study

PAIRS = sorted(ALIASES["partition.scheme"].items())


@pytest.mark.parametrize(("alias", "name"), PAIRS)
def test_an_alias_is_the_same_experiment(alias, name):
    asked = [Experiment.parse({"partition": {"scheme": scheme, "alpha": 0.3}}) for scheme in (alias, name)]
    assert asked[0] == asked[1]
    assert asked[0].id == asked[1].id
    assert partitioners.get(alias) is partitioners.get(name)
    assert alias not in partitioners.names()


@pytest.mark.parametrize(("alias", "name"), PAIRS)
def test_an_alias_in_a_grid_names_the_same_cells(alias, name):
    def study(scheme):
        return Study.parse(
            {
                "partition": {"alpha": 0.3},
                "grid": {"partition.scheme": [scheme, "quantity"]},
                "where": {"partition.scheme": {scheme: {"partition.min_samples": 3}}},
                "control": {"partition.scheme": scheme},
            }
        )

    assert study(alias) == study(name)
    assert [cell.name for cell in study(alias).cells()] == [f"scheme={name},seed=0", "scheme=quantity,seed=0"]
    assert [cell.experiment.partition.min_samples for cell in study(alias).cells()] == [3, 10]


def test_an_alias_beside_its_name_is_one_value_twice():
    with pytest.raises(UsageError, match="client_mix is given twice"):
        Study.parse({"grid": {"partition.scheme": ["client_mix", "dirichlet_per_client"]}})


def test_dirichlet_is_found():
    spec = PartitionSpec(scheme="dirichlet")
    with pytest.raises(UsageError, match="unknown partitioner 'dirichlet'; did you mean 'dirichlet_per_cl"):
        partitioners.bind(spec.scheme, spec.options)


OLD = {
    "data": {"spoil": {"kind": "shuffle_words", "share": 0.2}},
    "partition": {"by": "spoiled"},
    "grid": {"data.spoil.share": [0, 0.2]},
    "where": {"data.spoil.share": {"0": {"local.epochs": 2}}},
    "control": {"data.spoil.share": 0},
}
NEW = {
    "data": {"corrupt": {"kind": "shuffle_words", "share": 0.2}},
    "partition": {"by": "corrupted"},
    "grid": {"data.corrupt.share": [0, 0.2]},
    "where": {"data.corrupt.share": {"0": {"local.epochs": 2}}},
    "control": {"data.corrupt.share": 0},
}


@pytest.fixture
def warned(caplog):
    """The warnings of a test; each is given once in a process."""
    deprecated.cache_clear()
    return caplog


def test_a_study_in_names_of_0_1_0_is_the_same_study_and_warns(warned):
    assert Study.parse(OLD) == Study.parse(NEW)
    assert warned.messages == [
        "data.spoil is now data.corrupt; the old name goes with the next release",
        "partition.by: spoiled is now corrupted; the old name goes with the next release",
    ]


def test_a_preset_by_its_name_of_0_1_0_is_the_same_preset_and_warns(warned):
    assert find_study("size/mechanism@embedded") == find_study("size/drift@embedded")
    assert warned.messages == ["preset size/mechanism is now size/drift; the old name goes with the next release"]


def test_ids_are_those_of_0_1_0_and_the_written_experiment_warns_of_nothing(warned):
    """The ids were made by the code of commit 4f30369."""
    cells = Study.parse(NEW).cells()
    assert [(cell.name, cell.experiment.id) for cell in cells] == [
        ("share=0,seed=0", "5242b74fd940"),
        ("share=0.2,seed=0", "e22474cb017b"),
    ]
    assert Experiment.parse(json.loads(cells[1].experiment.to_json())) == cells[1].experiment
    assert not warned.messages


def test_a_setting_in_a_name_of_0_1_0_warns_and_is_told_by_what_was_written(warned):
    assert Study.parse(NEW, ["data.spoil.share=[0, 0.4]"]).grid == {"data.corrupt.share": (0, 0.4)}
    assert warned.messages
    with pytest.raises(UsageError, match=r"^--set data.spoil.share=7: data.corrupt.share: Input should be less"):
        Study.parse(NEW, ["data.spoil.share=7"])


def test_one_field_under_both_names_is_refused():
    with pytest.raises(UsageError, match=r"data\.corrupt is given under two names, today's and that of 0.1.0"):
        Study.parse({"data": {"spoil": None, "corrupt": None}})


def test_a_file_that_registers_a_spoiler_goes_on_working(warned):
    from cllora.corpus import corruptions, spoilers

    assert spoilers is corruptions
    assert named_today("spoilers") == "corruptions"
    assert features.get("spoiled") is features.get("corrupted")
    assert len(warned.messages) == 2


def test_a_legend_s_entry_goes_by_its_name_of_0_1_0(warned):
    from cllora import reports

    assert reports.Key is reports.LegendEntry
    assert warned.messages == [
        "cllora.reports.Key is now cllora.reports.LegendEntry; the old name goes with the next release"
    ]
