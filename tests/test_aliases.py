"""Other names for a scheme: one and the same run, whichever is written."""

import pytest

from cllora.errors import UsageError
from cllora.partition import partitioners
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
