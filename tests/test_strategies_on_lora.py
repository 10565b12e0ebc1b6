"""IFCA, FLoRA, FlexLoRA and FedRep, each against an example worked by hand, and in whole studies."""

import json

import numpy as np
import peft
import pytest
import transformers

import cllora
from cllora.errors import UsageError
from cllora.federated import Turn, Updates
from cllora.federated.low_rank import best_factors
from cllora.runs.export import export_run
from cllora.spec import Study
from cllora.store import last_round, message_bytes, read_losses, read_partition, read_rounds
from cllora.types import Layout, Model
from support.learning import stock_losses
from support.strategies import (
    CLIENTS,
    LAYOUT,
    Engine,
    adapter,
    assert_same_function,
    flat_layout,
    function_of,
    initial,
    play,
    setting,
    strategy,
    turns,
    vector,
)
from support.studies import interrupted, numbers, study_fields

TWO = Layout(("q_proj.lora_A.weight", "q_proj.lora_B.weight"), ((2, 2), (2, 2)), {"q_proj": 2.0})
"""One matrix, 2 by 2, with LoRA of rank 2 and scale 2."""


def factors(a, b):
    return TWO.join({"q_proj.lora_A.weight": np.array(a), "q_proj.lora_B.weight": np.array(b)})


def added(model):
    return function_of(model, TWO)["q_proj"]


def test_flora_by_hand():
    """The mean product, 2 (3/4 [[1, 0], [2, 0]] + 1/4 [[0, 3], [0, 0]]), is frozen whole, on top of what was."""
    s = strategy("flora", setting(TWO))
    state, expected = s.start(initial(TWO)), np.array([[1.5, 1.5], [3, 0]])
    assert not state["rest"].size
    ends = {0: factors([[1, 0], [0, 0]], [[1, 0], [2, 0]]), 1: factors([[0, 1], [0, 0]], [[3, 0], [0, 0]])}
    for number in (1, 2):
        state = play(s, state, {}, ends, {0: 30, 1: 10}, TWO, number)
        np.testing.assert_allclose(added(s.models(state)["global"]), number * expected, rtol=1e-6)


def test_flora_trains_fresh_adapters_on_what_is_frozen():
    s = strategy("flora")
    state = play(s, s.start(initial()), {}, {0: adapter(0), 1: adapter(1)})
    frozen = s.models(state)["global"].frozen
    starts = []
    for number, client in ((2, 0), (2, 3), (3, 0)):
        work = s.plan(s.send(state, Turn(number, client, (client,))), {}, None)["shared"]
        assert work.start.frozen.keys() == frozen.keys()
        assert not work.start.adapter[LAYOUT.part("B")].any()
        a = work.start.adapter[LAYOUT.matrices[0].a]
        assert np.abs(a).max() <= 1 / np.sqrt(LAYOUT.matrices[0].columns)
        starts.append(work.start.adapter)
    assert np.array_equal(starts[0], starts[1]), "the same for all clients of a round"
    assert not np.array_equal(starts[0], starts[2])


def test_flora_keeps_factors_until_they_are_larger_than_the_matrix():
    s = strategy("flora", ranks=[1])
    state = s.start(initial())
    matrix = LAYOUT.matrices[0]
    for number in range(1, 4):
        state = play(s, state, {}, {0: adapter(number)}, number=number)
        if number * (matrix.rows + matrix.columns) <= matrix.rows * matrix.columns:
            assert state[f"frozen/{matrix.name}.A"].shape == (number, matrix.columns)
        else:
            assert state[f"frozen/{matrix.name}"].shape == (matrix.rows, matrix.columns)
            assert f"frozen/{matrix.name}.A" not in state


def test_flora_goes_on_from_an_adapter_that_is_there():
    """`lora.start`: its product is the first that is frozen."""
    s = strategy("flora")
    assert_same_function(s.models(s.start(adapter(3)))["global"], Model(adapter(3)))


def test_flexlora_by_hand():
    """The mean of diag(4, 2) and diag(2, 0) is diag(3, 1); its best of rank 1 is diag(3, 0)."""
    s = strategy("flexlora", setting(TWO), ranks=[2, 1])
    state, eye = s.start(initial(TWO)), [[1, 0], [0, 1]]
    ends = {0: factors(eye, [[2, 0], [0, 1]]), 1: factors(eye, [[1, 0], [0, 5]])}
    state = play(s, state, {}, ends, layout=TWO)
    np.testing.assert_allclose(added(s.models(state)["global"]), [[3, 0], [0, 1]], atol=1e-6)
    messages = [s.send(state, Turn(2, client, (client,))) for client in range(4)]
    assert [len(message["adapter"]) for message in messages] == [8, 4, 8, 4]
    for message, product in zip(messages, ([[3, 0], [0, 1]], [[3, 0], [0, 0]]), strict=False):
        work = s.plan(message, {}, None)["shared"]
        np.testing.assert_allclose(added(Model(work.start)), product, atol=1e-6)
        assert work.trainable.sum() == len(message["adapter"])


def test_a_client_of_a_lower_rank_sends_and_is_sent_less():
    for name in ("flexlora", "flora"):
        s = strategy(name, ranks=[1, 3])
        state = play(s, s.start(initial()), {}, {0: adapter(0), 1: adapter(1)})
        done = turns(s, state, {}, {0: 5, 1: 5}, Engine(LAYOUT, lambda job: adapter(2)), 2)
        low, high = (turn.part.update.sent["adapter"] for turn in done)
        assert (len(low), len(high)) == (LAYOUT.first_ranks(1).sum(), LAYOUT.size)
        assert done[0].record.bytes_up < done[1].record.bytes_up
        assert done[0].record.bytes_up == message_bytes({"adapter": low}, LAYOUT)


def test_ranks_over_those_of_the_layers_are_refused():
    for name in ("flexlora", "flora"):
        with pytest.raises(UsageError, match=r"ranks has 4, but lora\.r is 3; raise that"):
            strategy(name, ranks=[1, 4])


def test_the_best_of_a_rank_is_that_of_the_whole_product():
    """Against NumPy's decomposition of the product itself."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(6, 9)), draw.normal(size=(11, 6))
    u, sigma, v = np.linalg.svd(b @ a)
    for rank in (1, 3, 6):
        low_a, low_b = best_factors((a, b), rank)
        assert low_a.shape == (rank, 9)
        np.testing.assert_allclose(low_b @ low_a, (u[:, :rank] * sigma[:rank]) @ v[:rank], atol=1e-10)
        np.testing.assert_allclose(low_a @ low_a.T, np.eye(rank), atol=1e-10)


def test_fedrep_by_hand():
    """Two clients of 30 and 10 samples: A is joined, 3/4 of 1 and 1/4 of 5; each B stays."""
    s = strategy("fedrep", setting(TWO), head_epochs=3)
    a, b = TWO.part("A"), TWO.part("B")

    def end(job):
        client, piece = job.name[2:]
        return np.full(8, {"head": 10 + client, "shared": 1 + 4 * client}[piece], np.float32)

    memories, engine = {}, Engine(TWO, end)
    done = turns(s, s.start(initial(TWO)), memories, {0: 30, 1: 10}, engine)
    (heads, first), (bodies, second) = engine.calls
    assert [job.name[3] for job in (*heads, *bodies)] == ["head", "head", "shared", "shared"]
    assert (first.epochs, second.epochs) == (3, 1)
    assert all(np.array_equal(job.start.adapter[a], initial(TWO)[a]) for job in bodies), "A was fixed"
    assert [set(job.start.adapter[b]) for job in bodies] == [{10}, {11}]
    assert [set(turn.part.update.sent["A"]) for turn in done] == [{1}, {5}]
    assert [set(turn.part.local.adapter[b]) for turn in done] == [{10}, {11}]
    state = s.aggregate({}, Updates([turn.part.update for turn in done], s.needs))
    assert set(state["A"]) == {2}
    message = s.send(state, Turn(2, 1, (1,)))
    assert set(message) == {"A"}
    personal = s.personal(message, memories[1], None).adapter
    assert (set(personal[a]), set(personal[b])) == ({2}, {11})
    assert set(s.models(state)["global"].adapter[b]) == {0}


def test_fedrep_without_lora_is_refused():
    with pytest.raises(UsageError, match="fedrep shares LoRA's A"):
        strategy("fedrep", setting(flat_layout(3)))


def test_ifca_by_hand():
    """Clients 0 and 1 want -1, client 3 wants 1: each trains the nearer of two models."""
    flat = setting(flat_layout(1))
    s = strategy("ifca", flat)
    wants = {0: -1, 1: -1, 2: 0.1, 3: 1}

    def loss(model, client):
        return abs(float(model.adapter[0]) - wants[client])

    state = {"adapter/0": vector(-0.5), "adapter/1": vector(0.5), "adapter/2": vector(9)}
    s = strategy("ifca", flat, clusters=3)
    ends = {0: vector(-1), 1: vector(-0.6), 3: vector(0.9)}
    done = turns(s, state, {}, {0: 30, 1: 10, 3: 7}, Engine(flat.layout, lambda job: ends[job.name[2]], loss))
    assert [int(turn.part.update.sent["cluster"][0]) for turn in done] == [0, 0, 1]
    assert [turn.part.start.adapter[0] for turn in done] == [-0.5, -0.5, 0.5]
    assert [turn.record.tokens_scored for turn in done] == [3 * 300, 3 * 100, 3 * 70]
    after = s.aggregate(state, Updates([turn.part.update for turn in done], s.needs))
    assert [after[f"adapter/{j}"][0] for j in range(3)] == pytest.approx([-0.9, 0.9, 9])
    assert list(s.models(after)) == ["global/0", "global/1", "global/2"]
    message = s.send(after, Turn(2, 2, (2,)))
    assert s.personal(message, {}, lambda model: abs(float(model[0]) - 0.1)) == "global/1"


def test_ifca_with_one_cluster_is_fedavg():
    one, other = strategy("ifca", clusters=1), strategy("fedavg")
    ends = {k: adapter(k) for k in range(CLIENTS)}
    found = play(one, one.start(initial()), {}, ends, {0: 3, 1: 4, 2: 9, 3: 1})
    expected = play(other, other.start(initial()), {}, ends, {0: 3, 1: 4, 2: 9, 3: 1})
    assert np.array_equal(found["adapter/0"], expected["adapter"])


def test_ifca_begins_with_models_that_differ_a_little():
    s = strategy("ifca", clusters=2, spread=0.01)
    state = s.start(initial())
    b = LAYOUT.part("B")
    assert np.array_equal(state["adapter/0"][~b], initial()[~b])
    assert 0.005 < state["adapter/0"][b].std() < 0.02
    assert not np.array_equal(state["adapter/0"], state["adapter/1"])


STRATEGIES = [
    {"name": "ifca"},
    {"name": "flora", "ranks": [1, 2]},
    {"name": "flexlora", "ranks": [2, 1]},
    {"name": "fedrep"},
]


def study_of(model, texts, choice, **changes):
    fields = study_fields(model, texts, grid={}, control={}, **changes)
    fields["federation"] = {**fields["federation"], "strategy": choice, "num_rounds": 2}
    return Study.parse(fields)


@pytest.fixture(scope="module")
def cells(tiny_models, texts, tmp_path_factory):
    """A finished run of every strategy."""
    made = {}

    def cell(name):
        if name not in made:
            choice = next(choice for choice in STRATEGIES if choice["name"] == name)
            folder = tmp_path_factory.mktemp(name)
            made[name] = cllora.run(study_of(tiny_models("opt"), texts, choice), folder) / "seed=0"
        return made[name]

    return cell


@pytest.mark.parametrize("choice", STRATEGIES, ids=lambda choice: choice["name"])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(choice, cells, tiny_models, texts, tmp_path):
    study = study_of(tiny_models("opt"), texts, choice)
    interrupted(study, tmp_path, round=1)
    cllora.run(study, tmp_path)
    assert numbers(tmp_path) == numbers(cells(choice["name"]).parent)


@pytest.mark.parametrize("name", ["flora", "flexlora"])
def test_peft_alone_reads_the_adapter_and_says_what_the_run_said(name, cells, tiny_models):
    """Of FLoRA it has higher ranks, in which all that was frozen is."""
    cell = cells(name)
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt"))
    model = peft.PeftModel.from_pretrained(base, cell / "adapter").eval()
    assert_says_what_the_run_said(model, cell)
    config = json.loads((cell / "adapter" / "adapter_config.json").read_text())
    assert bool(config["rank_pattern"]) == (name == "flora")


def test_the_merged_model_is_the_run_s_too(cells, tmp_path):
    cell = cells("flora")
    export_run(cell, tmp_path / "merged", merged=True)
    assert_says_what_the_run_said(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), cell)
    export_run(cell, tmp_path / "exported")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "exported" / file).read_bytes() == (cell / "adapter" / file).read_bytes()


def assert_says_what_the_run_said(model, cell, name="global"):
    from cllora.runs.study_cache import samples_of
    from cllora.store import read_experiment

    experiment = read_experiment(cell)
    losses = read_losses(cell)
    rows = losses[(losses["model"] == name) & (losses["round"] == losses["round"].max())].head(12)

    class Texts:
        samples, context = samples_of(experiment), experiment.model.context

    np.testing.assert_allclose(stock_losses(model.eval(), Texts, rows["sample"]), rows["nll"], rtol=2e-4)


def test_several_global_models_are_each_evaluated_kept_and_chosen_from(cells, tiny_models, tmp_path):
    cell = cells("ifca")
    losses, partition, rounds = read_losses(cell), read_partition(cell), read_rounds(cell)
    last = losses[losses["round"] == 2].set_index(["model", "sample"])["nll"]
    both = np.mean([last["global/0"], last["global/1"]], axis=0)
    np.testing.assert_allclose(last["global"], both)
    inside = losses["sample"].isin(partition.global_test) & (losses["round"] == 2)
    for name in ("global/0", "global/1"):
        rows = losses[inside & (losses["model"] == name)]
        assert rounds[2]["global_losses"][name] == pytest.approx(rows["nll"].sum() / rows["tokens"].sum())
    assert rounds[2]["global_loss"] == pytest.approx(np.mean(list(rounds[2]["global_losses"].values())))
    for client in range(partition.num_clients):
        own = last[f"personal/{client}"]
        assert any(own.equals(last[name][own.index]) for name in ("global/0", "global/1"))
    first = losses[losses["round"] == 0].set_index(["model", "sample"])["nll"]
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("opt"))
    assert not np.array_equal(first["global"], first["global/0"]), "round 0 is the base"
    assert sorted(path.name for path in (cell / "adapter").iterdir()) == ["0", "1"]
    for j in range(2):
        model = peft.PeftModel.from_pretrained(base, cell / "adapter" / str(j), adapter_name=f"m{j}")
        model.set_adapter(f"m{j}")
        assert_says_what_the_run_said(model, cell, f"global/{j}")
        base = model.unload()
    with pytest.raises(UsageError, match="choose one with --model: global/0, global/1"):
        export_run(cell, tmp_path / "any")
    export_run(cell, tmp_path / "one", model="global/1")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "one" / weights).read_bytes() == (cell / "adapter" / "1" / weights).read_bytes()
    with pytest.raises(UsageError, match="no model 'global/7'"):
        export_run(cell, tmp_path / "none", model="global/7")


def test_a_run_with_several_models_is_reported_on(cells):
    from cllora.reports import report

    page = report(cells("ifca").parent).read_text()
    assert "ifca" in page


def test_what_is_measured_on_one_model_is_refused_before_training(tiny_models, texts, tmp_path):
    study = study_of(tiny_models("opt"), texts, {"name": "ifca"}, evaluation={"attention": True})
    with pytest.raises(UsageError, match="attention_entropy measures one global model, and the strategy ifca has 2"):
        cllora.run(study, tmp_path)
    assert not (tmp_path / "seed=0" / "state.safetensors").exists()


def test_an_adapter_of_several_is_started_from_by_its_name(cells, tiny_models, texts, tmp_path):
    lora = {"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"], "start": str(cells("ifca"))}
    with pytest.raises(UsageError, match=r"several adapters; name one of them, such as .*adapter/0"):
        cllora.run(study_of(tiny_models("opt"), texts, "fedavg", lora=lora), tmp_path / "any")
    lora["start"] = str(cells("ifca") / "adapter" / "1")
    cell = cllora.run(study_of(tiny_models("opt"), texts, "flora", lora=lora), tmp_path / "one") / "seed=0"
    before = read_rounds(cells("ifca"))[2]["global_losses"]["global/1"]
    assert read_rounds(cell)[0]["global_loss"] == pytest.approx(before, rel=1e-5)
    assert last_round(cell).state["rest"].size == 0
