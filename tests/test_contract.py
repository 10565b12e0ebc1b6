"""What a strategy can rely on: a client's turn, pieces of training, its own loss, what is frozen, any kind of array."""

import dataclasses
import json

import numpy as np
import peft
import pytest
import safetensors.numpy
import transformers

from cllora.errors import UsageError
from cllora.federated import Federation, Model, Strategy, Turn, Work, global_models, rounds
from cllora.model.stacked import merge_frozen
from cllora.spec import Experiment, LocalSpec
from cllora.store import begin, last_round, message_bytes, save_round
from cllora.types import ClientRecord, Job, Layout, Round, RoundRecord
from support.learning import LOCAL, learner_of, random_adapter, stock_losses
from support.strategies import LAYOUT, Engine, adapter, initial, strategy, turns

FAMILIES = ("opt", "gpt2", "llama")


def planning(plan, **functions):
    return Strategy(lambda state, updates: state, plan=lambda message, memory, loss: plan(message, loss), **functions)


def taken(s, end=lambda job: adapter(0), loss=lambda model, client: 1.0, samples=None):
    engine = Engine(LAYOUT, end, loss)
    return turns(s, s.start(initial()), {}, samples or {0: 3, 2: 4}, engine), engine


def test_pieces_follow_each_other_and_all_clients_train_at_once():
    a, b = LAYOUT.part("A"), LAYOUT.part("B")
    s = planning(
        lambda message, loss: {
            "first": Work(message["adapter"], trainable=b),
            "alone": Work(message["adapter"]),
            "shared/2": Work("first", trainable=a),
            "after": Work("shared/2"),
        },
        reply=lambda message, memory, trained: ({"adapter": trained["after"].adapter}, {}),
    )
    ends = {"first": 1, "alone": 2, "shared": 3, "after": 4}
    done, engine = taken(s, lambda job: np.full(LAYOUT.size, ends[job.name[3]], np.float32))
    waves = [[(job.name[2], job.name[3]) for job in jobs] for jobs, _ in engine.calls]
    assert waves == [
        [(0, "first"), (0, "alone"), (2, "first"), (2, "alone")],
        [(0, "shared"), (2, "shared")],
        [(0, "after"), (2, "after")],
    ]
    shared = done[0].part.local.adapter
    assert (set(shared[b]), set(shared[a])) == ({1}, {3})
    assert set(done[0].part.update.sent["adapter"]) == {4}
    assert np.array_equal(done[0].part.start.adapter, initial()), "where the first of its pieces started"


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ({"shared": Work("head")}, "'shared' starts from 'head', which is no piece before it"),
        ({"other": Work(initial())}, "plans the pieces other; one is called shared"),
        ({}, r"plans the pieces \(none\)"),
        ({"shared/0": Work(initial()), "shared/1": Work(initial())}, "no two the same before a slash"),
        ({"shared": Work(initial(), local={"epochs": 0})}, "local settings of a piece: epochs: .* greater than"),
        ({"shared": Work(initial(), local={"epoch": 1})}, "local settings of a piece: epoch: "),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(pieces, line):
    with pytest.raises(UsageError, match=line) as caught:
        taken(planning(lambda message, loss: pieces))
    assert "\n" not in str(caught.value)


def test_a_piece_has_settings_of_its_own():
    s = planning(lambda message, loss: {"shared": Work(initial()), "more": Work(initial(), local={"epochs": 7})})
    _, engine = taken(s)
    assert [([job.name[3] for job in jobs], spec.epochs) for jobs, spec in engine.calls] == [
        (["shared", "shared"], 1),
        (["more", "more"], 7),
    ]


def test_a_client_sees_its_own_loss_as_a_number_and_what_it_costs_is_recorded():
    seen = []

    def plan(message, loss):
        seen.extend([loss(message["adapter"]), loss(Model(adapter(1)))])
        return {"shared": Work(message["adapter"])}

    done, _ = taken(planning(plan), loss=lambda model, client: float(client + model.adapter[0]))
    first, second = initial()[0], adapter(1)[0]
    assert seen == pytest.approx([first, second, 2 + first, 2 + second])
    assert [turn.record.tokens_scored for turn in done] == [2 * 30, 2 * 40]
    assert "tokens_scored" in done[0].record.to_json(evaluated=False)
    plain, _ = taken(strategy("fedavg"))
    assert "tokens_scored" not in plain[0].record.to_json(evaluated=False)


def test_a_client_looks_at_as_much_of_a_text_as_it_sees(learners, tmp_path):
    from cllora.federated.client import Look
    from cllora.runs.cached import Cached, LossFile

    learner, ids = learners("opt"), np.arange(20)
    cached = Cached(learner, LossFile(tmp_path / "base.npy", learner.samples), {})
    for engine in (learner, cached):
        for context in (None, 9):
            look = Look(engine, ids, context)
            seen = learner.samples.predicted(ids, context or learner.context).sum()
            learner.context, whole = context or learner.context, learner.context
            nll = learner.evaluate("x", learner.initial(0), ids).nll.sum()
            learner.context = whole
            assert look(learner.initial(0)) == pytest.approx(nll / seen, rel=1e-6)
            assert look.tokens == seen


def test_a_turn_does_not_depend_on_company():
    """One function does it, for one client or for many."""
    s = strategy("scaffold")
    together, _ = taken(s, lambda job: adapter(job.name[2]))
    alone = [taken(s, lambda job: adapter(job.name[2]), samples={k: n})[0][0] for k, n in ((0, 3), (2, 4))]
    for one, other in zip(together, alone, strict=True):
        assert one.record == other.record
        assert all(np.array_equal(one.part.update.sent[key], other.part.update.sent[key]) for key in ("adapter", "c"))
        assert np.array_equal(one.memory["c_k"], other.memory["c_k"])


ANY = {
    "places": np.array([3, 1], np.int32),
    "halves": np.array([0.5, 2], np.float16),
    "wide": np.array([[0.1, 0.2]]),
    "bytes": np.arange(LAYOUT.size, dtype=np.uint8),
    "bits": np.array([True, False]),
    "number": np.array(7, np.int64),
    "strided": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


def test_what_is_counted_is_what_is_sent_in_its_own_type():
    plain = {key: np.array(array) for key, array in ANY.items() if key != "bytes"}
    sent = message_bytes(ANY, LAYOUT)
    split = {f"bytes/{name}": part for name, part in LAYOUT.split(ANY["bytes"]).items()}
    assert sent == len(safetensors.numpy.save({**plain, **split}))
    assert sent - message_bytes({**ANY, "bytes": ANY["bytes"].astype(np.float32)}, LAYOUT) < -2.9 * LAYOUT.size


def test_a_message_that_cannot_be_sent_is_refused_by_name():
    for array, kind in ((np.array(["a"]), "<U1"), (np.array([None]), "object"), ([1.0], "list")):
        with pytest.raises(UsageError, match=f"'words' is of type {kind}"):
            message_bytes({"words": array}, LAYOUT)


def test_states_and_memories_of_any_type_come_back_from_disk(tmp_path):
    begin(tmp_path, Experiment())
    for number in (0, 1):
        save_round(tmp_path, Round(number, ANY, {4: ANY, 0: {}}, (), RoundRecord(number)))
    found = last_round(tmp_path)
    for arrays in (found.state, found.memories[4]):
        assert arrays.keys() == ANY.keys()
        for key, array in ANY.items():
            assert (arrays[key].dtype, arrays[key].shape) == (array.dtype, array.shape)
            assert np.array_equal(arrays[key], array)


def test_records_read_back_as_they_were_written():
    client = ClientRecord(3, 10, 100, 2, 1.5, 40, 50, 0.25, tokens_scored=9, local_loss=2.5)
    evaluated = RoundRecord(2, (client,), 1.5, 3.0, 3.1, {"global/0": 2.9})
    skipped = RoundRecord(3, (dataclasses.replace(client, local_loss=None),), 1.5)
    for record in (evaluated, skipped, RoundRecord(0)):
        assert RoundRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert "local_loss" not in skipped.to_json()["clients"][0]
    assert "global_loss" not in skipped.to_json()
    assert (evaluated.to_json()["bytes_up"], evaluated.to_json()["bytes_down"]) == (40, 50)
    old = {**evaluated.to_json(), "mechanism": None, "barrier": 0.1, "layers": ["q"]}
    assert RoundRecord.from_json(old) == evaluated


def frozen_of(layout: Layout, kind: str, seed: int = 5):
    """Something to add to every adapted matrix, dense or as factors of rank 3, or both; and the sum, dense."""
    draw = np.random.default_rng(seed)
    frozen, dense = {}, {}
    for matrix in layout.matrices:
        a = draw.normal(0, 0.1, (3, matrix.columns)).astype(np.float32)
        b = draw.normal(0, 0.3, (matrix.rows, 3)).astype(np.float32)
        full = draw.normal(0, 0.1, (matrix.rows, matrix.columns)).astype(np.float32)
        dense[matrix.name] = full * (kind != "factors") + b @ a * (kind != "dense")
        if kind != "factors":
            frozen[matrix.name] = full
        if kind != "dense":
            frozen |= {f"{matrix.name}.A": a, f"{matrix.name}.B": b}
    return frozen, dense


@pytest.fixture(scope="module")
def learners(tiny_models):
    made = {}

    def learner(family):
        if family not in made:
            made[family] = learner_of(tiny_models(family))
        return made[family]

    return learner


@pytest.fixture(scope="module")
def changed(tiny_models):
    """A learner whose base's own weights hold what is frozen elsewhere."""

    def learner(family, frozen):
        other = learner_of(tiny_models(family))
        merge_frozen(other.base.model, other.layout, frozen)
        return other

    return learner


@pytest.mark.parametrize("kind", ["dense", "factors", "both"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_is_as_if_it_were_in_the_base(family, kind, learners, changed):
    """Evaluated and trained upon, as on a base whose weights were changed by hand."""
    learner = learners(family)
    frozen, dense = frozen_of(learner.layout, kind)
    other, ids = changed(family, dense), np.arange(12)
    model = Model(random_adapter(learner), frozen)
    found, expected = learner.evaluate("x", model, ids), other.evaluate("x", model.adapter, ids)
    np.testing.assert_allclose(found.nll, expected.nll, rtol=1e-4)
    assert not np.allclose(found.nll, learner.evaluate("x", model.adapter, ids).nll, rtol=1e-3)
    jobs = [Job(Work(start, gradient=True), ids, ("x",)) for start in (model, model.adapter)]
    trained, plain = learner.train(jobs[:1], LOCAL, 0)[0], other.train(jobs[1:], LOCAL, 0)[0]
    np.testing.assert_allclose(trained.gradient, plain.gradient, rtol=2e-3, atol=1e-5)
    assert trained.loss == pytest.approx(plain.loss, rel=1e-4)


def test_what_is_frozen_is_under_dora_too(tiny_models):
    from cllora.model.learner import Learner
    from cllora.model.load import load_base
    from cllora.spec import LoraSpec, ModelSpec
    from support.samples import made_up_samples

    model = ModelSpec(name=str(tiny_models("llama")), context=40, precision="float32", device="cpu")

    def learner():
        return Learner(load_base(model, LoraSpec(lora_dropout=0, use_dora=True)), made_up_samples(), 40)

    one, other, ids = learner(), learner(), np.arange(8)
    frozen, dense = frozen_of(one.layout, "both")
    merge_frozen(other.base.model, other.layout, dense)
    at = one.initial(0) + random_adapter(one)
    found, expected = one.evaluate("x", Model(at, frozen), ids), other.evaluate("x", at, ids)
    np.testing.assert_allclose(found.nll, expected.nll, rtol=1e-4)


def test_clients_on_different_ground_do_not_meet_in_a_pass(learners):
    """They come to what they come to alone, to the last bit; those on the same ground train together."""
    learner = learners("opt")
    grounds = [frozen_of(learner.layout, "factors", seed)[0] for seed in (1, 2)]
    models = [Model(random_adapter(learner, k), ground) for k, ground in enumerate([grounds[0], grounds[1], {}])]
    jobs = [Job(Work(model), np.arange(5 * k, 5 * k + 5), ("x", k)) for k, model in enumerate(models)]
    for job, found in zip(jobs, learner.train(jobs, LOCAL, 0), strict=True):
        assert np.array_equal(found.adapter, learner.train([job], LOCAL, 0)[0].adapter)
    equal = {key: array.copy() for key, array in grounds[0].items()}
    alike = [
        Job(Work(Model(models[k].adapter, ground)), jobs[k].ids, ("x", k))
        for k, ground in enumerate((grounds[0], equal))
    ]
    assert [len(group) for group in learner.groups(alike, LOCAL)] == [2]
    assert [len(group) for group in learner.groups(jobs, LOCAL)] == [1, 1, 1]


def test_a_model_with_something_frozen_is_not_the_base(learners):
    learner = learners("opt")
    start = learner.initial(0)
    assert learner.is_base(start)
    assert learner.is_base(Model(start))
    assert not learner.is_base(Model(start, frozen_of(learner.layout, "dense")[0]))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda name, m, n: {f"{name}x": np.zeros((m, n))}, "x', which has no LoRA"),
        (lambda name, m, n: {name: np.zeros((n, m + 1))}, "has the shape"),
        (lambda name, m, n: {f"{name}.A": np.zeros((2, n))}, r"the factors \(2, \d+\) and None"),
        (lambda name, m, n: {f"{name}.A": np.zeros((2, n)), f"{name}.B": np.zeros((m, 3))}, "has the factors"),
    ],
)
def test_what_cannot_be_frozen_is_refused_by_name(change, line, learners):
    learner = learners("opt")
    matrix = learner.layout.matrices[0]
    wrong, ids = change(matrix.name, matrix.rows, matrix.columns), np.arange(2)
    last = {learner.layout.matrices[-1].name: np.ones((32, 32), np.float32)}
    before = learner.evaluate("x", learner.initial(0), ids).nll
    for frozen in (wrong, {**last, **wrong}, {**wrong, **last}):
        with pytest.raises(UsageError, match=line):
            learner.evaluate("x", Model(learner.initial(0), frozen), ids)
        assert np.array_equal(learner.evaluate("x", learner.initial(0), ids).nll, before)


def test_nothing_is_frozen_under_lora_on_an_embedding(tiny_models):
    from cllora.model.learner import Learner
    from cllora.model.load import load_base
    from cllora.spec import LoraSpec, ModelSpec
    from support.samples import made_up_samples

    spec = ModelSpec(name=str(tiny_models("opt")), context=40, precision="float32", device="cpu")
    lora = LoraSpec(lora_dropout=0, train="lora+embeddings", embedding_r=2)
    learner = Learner(load_base(spec, lora), made_up_samples(), 40)
    with pytest.raises(UsageError, match="embed_tokens', which has LoRA, but is no linear layer"):
        learner.evaluate("x", Model(learner.initial(0), frozen_of(learner.layout, "dense")[0]), np.arange(2))


@pytest.mark.parametrize("kind", ["dense", "factors", "both"])
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_alone_adds_what_is_frozen(family, kind, learners, tiny_models, tmp_path):
    learner = learners(family)
    model = Model(random_adapter(learner), frozen_of(learner.layout, kind)[0])
    learner.save_adapter(model, tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family))
    alone = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = np.arange(8)
    np.testing.assert_allclose(stock_losses(alone, learner, ids), learner.evaluate("x", model, ids).nll, rtol=2e-4)


def test_masks_are_taken_in_turn(learners):
    learner = learners("opt")
    a, b = learner.layout.part("A"), learner.layout.part("B")
    start, ids = random_adapter(learner), np.arange(10)
    local = LocalSpec(epochs=1, batch_size=10, learning_rate=1e-2, weight_decay=0.1)

    def after(steps, masks):
        spec = local.model_copy(update={"steps": steps})
        return learner.train([Job(Work(start, trainable=masks), ids, ("x",))], spec, 0)[0].adapter

    one, two = after(1, (b, a)), after(2, (b, a))
    assert np.array_equal(one[a], start[a])
    assert np.array_equal(one, after(1, b))
    assert (one[b] != start[b]).any()
    assert (two[a] != start[a]).any()
    assert np.array_equal(after(3, (b, b, b)), after(3, b))


def test_the_optimisers_state_goes_out_and_in(learners):
    """Two steps and then two more from the state are four steps; from none they are not."""
    learner = learners("llama")
    ids = np.arange(6)
    local = LocalSpec(steps=2, batch_size=6, learning_rate=1e-2, lr_scheduler_type="constant", max_grad_norm=0)

    def trained(start, spec, moments):
        return learner.train([Job(Work(start, moments=moments), ids, ("x",))], spec, 0)[0]

    first = trained(random_adapter(learner), local, {})
    assert {key: array.shape for key, array in first.moments.items()} == {
        "step": (),
        "exp_avg": first.adapter.shape,
        "exp_avg_sq": first.adapter.shape,
    }
    second = trained(first.adapter, local, first.moments)
    straight = trained(random_adapter(learner), local.model_copy(update={"steps": 4}), {})
    np.testing.assert_allclose(second.adapter, straight.adapter, atol=2e-4)
    assert int(second.moments["step"]) == int(straight.moments["step"]) == 4
    fresh = trained(first.adapter, local, None)
    assert fresh.moments is None
    assert np.abs(fresh.adapter - straight.adapter).max() > 1e-3
    sgd = local.model_copy(update={"optim": "sgd"})
    assert trained(first.adapter, sgd, {}).moments == {}


def test_the_layout_knows_its_matrices_by_the_models_own_scale(tiny_models):
    from cllora.model.adapters import Adapters
    from cllora.model.load import load_base
    from cllora.spec import LoraSpec, ModelSpec

    spec = ModelSpec(name=str(tiny_models("opt")), context=40, device="cpu")
    lora = LoraSpec(r=4, lora_alpha=6, use_rslora=True, train="lora+embeddings+norms", embedding_r=3)
    layout = Adapters(load_base(spec, lora).model).layout
    embedding, linear = layout.matrices[0], layout.matrices[-1]
    assert (embedding.rank, linear.rank) == (3, 4)
    assert (embedding.scale, linear.scale) == pytest.approx((6 / np.sqrt(3), 6 / np.sqrt(4)))
    assert (embedding.rows, embedding.columns) == (32, 300)
    whole = layout.part("A").sum() + layout.part("B").sum() + layout.part("rest").sum()
    assert whole == layout.size
    assert layout.part("rest").any()
    assert layout.first_ranks(4).all()
    assert layout.first_ranks(1).sum() < layout.size


def test_masks_and_products_by_hand():
    layout = Layout(("x.lora_A.weight", "x.lora_B.weight", "norm"), ((2, 3), (2, 2), (2,)), {"x": 0.5})
    numbers = np.arange(12, dtype=np.float32)
    assert np.flatnonzero(layout.part("A")).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(layout.part("B")).tolist() == [6, 7, 8, 9]
    assert np.flatnonzero(layout.first_ranks(1)).tolist() == [0, 1, 2, 6, 8, 10, 11]
    assert layout.delta(numbers)["x"].tolist() == [[10.5, 17, 23.5], [13.5, 22, 30.5]]


def test_models_and_personal_choices_that_are_not_there_are_refused():
    for models, line in (({}, r"are \(none\)"), ({"best": Model(initial())}, "are best; call them global")):
        with pytest.raises(UsageError, match=line):
            global_models(Strategy(lambda state, updates: state, models=lambda state, m=models: m), {})


def test_a_strategy_of_every_part_of_the_contract_runs(tiny_models, texts):
    """The turn in the message, integers on the wire, a look at the loss, and a model on frozen ground."""
    from cllora.runs.study_cache import samples_of
    from support.studies import study_fields

    fields = study_fields(tiny_models("opt"), texts)
    experiment = Experiment.parse(
        {key: fields[key] for key in ("model", "lora", "data", "partition", "federation", "local")}
    )
    learner = learner_of(tiny_models("opt"), samples_of(experiment), targets=("q_proj", "v_proj"))
    seen = []

    def send(state, turn):
        seen.append(turn)
        return {"adapter": state["adapter"], "round": np.array([turn.round], np.int8)}

    def plan(message, memory, loss):
        assert loss(message["adapter"]) > 0
        frozen, _ = frozen_of(learner.layout, "factors", int(message["round"][0]))
        return {"shared": Work(Model(message["adapter"], frozen))}

    s = Strategy(
        lambda state, updates: {"adapter": updates.mean().astype(np.float32)},
        send=send,
        plan=plan,
        personal=lambda message, memory, loss: "global",
    )
    from cllora.partition import assign

    partition = assign(experiment, learner.samples, None)
    done = list(rounds(Federation(experiment, partition, s, learner)))
    assert [after.number for after in done] == [0, 1, 2, 3]
    trained = [turn for turn in seen if len(turn.chosen) == 2]
    assert [turn.round for turn in trained] == [1, 1, 2, 2, 3, 3]
    assert all(turn.client in turn.chosen for turn in trained)
    assert [turn for turn in seen if turn not in trained] == [Turn(4, k, (k,)) for k in range(6)]
    assert done[1].participants[0].local.frozen
    names = {block.model for block in done[-1].losses}
    assert {f"personal/{k}" for k in range(6)} <= names
