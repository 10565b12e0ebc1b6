"""The entropy of attention heads against stock eager attention, one text at a time, and what is kept of it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from cllora.analysis import results as read_runs
from cllora.errors import UsageError
from cllora.model import attention, entropy
from cllora.model.entropy import head_entropies
from cllora.probes.loss_surface import barrier
from cllora.runs import run
from cllora.spec import Experiment, Study
from cllora.store import probe_names, read_probe, write_probe
from support.learning import CONTEXT, learner_of, random_adapter
from support.models import FAMILIES
from support.reports import drawn, section
from support.samples import NUM_TEXTS, made_up_samples
from support.studies import interrupted, study_fields
from support.synthetic import make_study, write_study


def one_by_one(learner, ids):
    """Stock eager weights of each text alone, unpadded; mean over positions from the second on, in float64."""
    model = learner.base.model
    model.set_attn_implementation("eager")
    nats, share = [], []
    for sample in ids:
        text = torch.from_numpy(learner.samples.tokens_of(int(sample), CONTEXT))[None]
        with torch.no_grad():
            found = model(input_ids=text, output_attentions=True, use_cache=False).attentions
        weights = torch.stack([layer[0] for layer in found]).double()  # (layers, heads, N, N)
        entropies = -torch.xlogy(weights, weights).sum(-1)[..., 1:]
        nats.append(entropies)
        share.append(entropies / torch.arange(2, text.shape[1] + 1).double().log())
    model.set_attn_implementation(attention.NAME)
    return [torch.cat(each, dim=-1).mean(-1).numpy() for each in (nats, share)]


@pytest.mark.parametrize("family", FAMILIES)
def test_entropies_are_those_of_stock_eager_attention_on_single_texts(family, tiny_models):
    learner = learner_of(tiny_models(family))
    adapter, ids = random_adapter(learner), np.arange(0, 60, 4)
    found, (nats, share) = learner.head_entropies(adapter, ids), one_by_one(learner, ids)
    np.testing.assert_allclose(found.nats, nats, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.share, share, rtol=1e-4, atol=1e-5)
    assert found.nats.shape == (2, 4)
    assert (found.share < 1).all()
    before = learner.head_entropies(learner.initial(0), ids)
    assert np.abs(before.nats - nats).max() > 1e-3, "another adapter attends in another way"


@pytest.mark.parametrize(("length", "groups"), [(1, 1), (7, 2), (entropy.BLOCK + 9, 1)])
def test_uniform_attention_has_the_entropy_of_all_visible_tokens(length, groups):
    key = torch.randn(2, length, 8)
    found = head_entropies(torch.zeros(2 * groups, length, 8), key, 0.3)
    expected = torch.arange(1, length + 1).float().log().expand(2 * groups, -1)
    torch.testing.assert_close(found, expected)


def test_attention_to_one_token_has_none():
    key = torch.eye(6)[None] * 1000
    assert head_entropies(key.clone(), key, 1.0).abs().max() == 0


def test_what_a_text_lies_beside_changes_nothing(tiny_models):
    learner = learner_of(tiny_models("llama"), made_up_samples(longest=CONTEXT))
    adapter, ids = random_adapter(learner), np.arange(8)
    sizes = learner.samples.seen(ids, CONTEXT) - 1
    alone = [learner.head_entropies(adapter, ids[i : i + 1]).share for i in range(8)]
    together = learner.head_entropies(adapter, ids).share
    np.testing.assert_allclose(np.average(alone, axis=0, weights=sizes), together, rtol=1e-5)


def test_a_run_keeps_attention_and_surface_and_an_interrupted_one_comes_to_the_same(tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, evaluation={"attention": True, "surface": 3})
    study = Study.parse({**fields, "grid": {"partition.alpha": [0.1]}, "control": {}})
    cell = run(study, tmp_path / "whole") / "alpha=0.1,seed=0"
    interrupted(study, tmp_path / "stopped", round=2)
    stopped = tmp_path / "stopped" / cell.name
    assert "attention_entropy" not in probe_names(stopped)
    run(study, tmp_path / "stopped")
    assert probe_names(stopped) == probe_names(cell) == ["attention_entropy", "loss_surface", "update_geometry"]
    for name in probe_names(cell):
        assert read_probe(stopped, name).equals(read_probe(cell, name))
    kept = read_probe(cell, "attention_entropy")
    assert set(kept["texts"]) == {NUM_TEXTS // 10}
    assert kept[["layer", "head"]].to_numpy().tolist() == [[layer, head] for layer in (1, 2) for head in (1, 2, 3, 4)]
    assert (kept["before"] != kept["after"]).all()
    assert (kept["change"] == kept["after"] - kept["before"]).all()
    made = read_runs(tmp_path / "whole")
    assert made.metrics["barrier"][0] == barrier(read_probe(cell, "loss_surface"))["barrier"] >= 0
    assert all(drawn(name, made).measured for name in ("attention", "loss_surface"))


def test_a_surface_needs_two_clients():
    fields = {"evaluation": {"surface": 3}, "federation": {"clients_per_round": 1}}
    with pytest.raises(UsageError, match="clients_per_round to 2 or more"):
        Experiment.parse(fields)


def test_the_figure_shows_the_change_that_there_is_and_is_left_out_without(tmp_path):
    folder = write_study(tmp_path / "it", make_study(num_seeds=2))
    assert not section("attention", read_runs(folder)).asked
    assert not drawn("attention", read_runs(folder / make_study().cells()[0].name)).measured
    for cell in make_study(num_seeds=2).cells():
        change = (0.01 if "0.1" in cell.name else 0) + 0.001 * cell.experiment.seed
        kept = pd.DataFrame({"layer": np.repeat([1, 2, 3], 2), "head": np.tile([1, 2], 3), "before": 0.5})
        kept["change"] = [change, change, 0, 0, -change, 3 * change]
        kept = kept.assign(after=kept["before"] + kept["change"], nats_before=0.5, nats_after=0.5, texts=64)
        write_probe(folder / cell.name, "attention_entropy", 3, kept, every_round=False)
    runs = read_runs(folder)
    figure = drawn("attention", runs)
    assert len(figure.plots) == 2
    change = np.array(figure.plots[0].chart.data[0].z, float)
    np.testing.assert_allclose(change, [[0.0105, 0.0105], [0, 0], [-0.0105, 0.0315]], atol=1e-9)
    assert "alpha = 0.1" in figure.conclusion
    assert len(figure.table) == 2 * 2 * 3 * 2
    assert math.isclose(figure.table["change"].max(), 0.033)
