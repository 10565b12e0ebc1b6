"""Laws that hold for every registered strategy, and each strategy against an example worked by hand."""

import numpy as np
import pytest

from cllora.errors import UsageError
from cllora.federated import Turn, Updates, strategies
from cllora.store import message_bytes
from cllora.types import Job, Model, Update, model_of
from support.strategies import (
    CLIENTS,
    LAYOUT,
    Engine,
    adapter,
    assert_same_function,
    flat_layout,
    initial,
    play,
    setting,
    strategy,
    turns,
    vector,
)

every_strategy = pytest.mark.parametrize("name", strategies.names())
SAMPLES = {0: 5, 1: 50, 2: 7, 3: 1}


def after_two_rounds(s, samples=None):
    """A state in which something was learnt, and the clients' memories."""
    state, memories = s.start(initial()), {}
    for number, chosen in ((1, (0, 1)), (2, (1, 3))):
        ends = {k: adapter(10 * number + k) for k in chosen}
        state = play(s, state, memories, ends, samples or SAMPLES, number=number)
    return state, memories


def copied(arrays):
    return {key: array.copy() for key, array in arrays.items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and np.array_equal(one[key], other[key]) for key in one
    )


@every_strategy
def test_what_a_strategy_is_given_stays_as_it_was_and_gives_the_same_again(name):
    s = strategy(name)
    state, memories = after_two_rounds(s)
    kept, remembered = copied(state), {k: copied(memory) for k, memory in memories.items()}
    first, second = (
        turns(s, state, dict(memories), {1: 5, 2: 50}, Engine(LAYOUT, lambda job: adapter(job.name[2])), 3)
        for _ in range(2)
    )
    sent = [copied(turn.part.update.sent) for turn in first]
    one, other = (s.aggregate(state, Updates([turn.part.update for turn in done], s.needs)) for done in (first, second))
    assert same(one, other)
    assert same(state, kept)
    assert all(same(memories[k], remembered[k]) for k in memories)
    assert all(same(turn.part.update.sent, before) for turn, before in zip(first, sent, strict=True))


@every_strategy
def test_models_are_float32_and_what_crosses_are_arrays_that_are_counted(name):
    s = strategy(name)
    state, memories = after_two_rounds(s)
    for model in s.models(state).values():
        assert model.adapter.dtype == np.float32
        assert model.adapter.shape == (LAYOUT.size,)
    done = turns(s, state, memories, {0: 5, 2: 50}, Engine(LAYOUT, lambda job: adapter(job.name[2])), 3)
    for turn in done:
        message = s.send(state, Turn(3, turn.part.update.client, (0, 2)))
        for arrays, counted in ((message, turn.record.bytes_down), (turn.part.update.sent, turn.record.bytes_up)):
            assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
            assert counted == message_bytes(arrays, LAYOUT) >= sum(array.nbytes for array in arrays.values())


@every_strategy
def test_training_that_moves_nothing_is_a_fixed_point(name):
    s = strategy(name)
    state, _ = after_two_rounds(s)
    before = s.models(state)
    # FedAdam's momentum goes on; all others stand still.
    state = {**state, "m": np.zeros_like(state["m"])} if "m" in state else state
    for number in (3, 4, 5):
        engine = Engine(LAYOUT, lambda job: job.start.adapter)
        done = turns(s, state, {}, {0: 3, 1: 7, 2: 11}, engine, number)
        state = s.aggregate(state, Updates([turn.part.update for turn in done], s.needs))
    after = s.models(state)
    assert after.keys() == before.keys()
    for key, model in after.items():
        assert_same_function(model, before[key])


@every_strategy
def test_who_a_client_is_does_not_matter(name):
    s = strategy(name)
    state, _ = after_two_rounds(s)
    ends = {k: adapter(k) for k in range(CLIENTS)}
    one = play(s, state, {}, ends, SAMPLES)
    other = play(s, state, {}, {3 - k: ends[k] for k in ends}, {3 - k: SAMPLES[k] for k in SAMPLES})
    for key, model in s.models(one).items():
        assert_same_function(model, s.models(other)[key])


@every_strategy
def test_scaling_all_weights_changes_nothing(name):
    s = strategy(name)
    state = s.start(initial())
    ends = {0: adapter(1), 1: adapter(2)}
    few, many = (play(s, state, {}, ends, {0: scale, 1: 3 * scale}) for scale in (1, 100))
    for key, model in s.models(few).items():
        assert_same_function(model, s.models(many)[key])


@every_strategy
def test_a_client_without_memory_starts_and_ends_with_a_model_of_the_servers(name):
    """It trains from one, and if it is never chosen it uses one."""
    s = strategy(name)
    for state in (s.start(initial()), after_two_rounds(s)[0]):
        models = s.models(state)
        message = s.send(state, Turn(3, 2, (2,)))
        plan = s.plan(message, {}, lambda model: 1.0)
        first = next(iter(plan.values())).start
        personal = s.personal(message, {}, lambda model: 1.0)
        for model in (first, personal):
            if isinstance(model, str):
                assert model in models
            elif model is not None:
                assert any(_same_function(model_of(model), each) for each in models.values())


def _same_function(one, other):
    try:
        assert_same_function(one, other)
    except AssertionError:
        return False
    return True


@every_strategy
def test_the_server_begins_with_the_base_where_it_has_one_model(name):
    s = strategy(name)
    models = s.models(s.start(adapter(4)))
    if set(models) == {"global"} and name != "fedrep":  # its server has A alone
        assert_same_function(models["global"], Model(adapter(4)))


FLAT = setting(flat_layout(2), num_clients=4)


def flat(name, **options):
    return strategy(name, FLAT, **options)


def flat_play(s, state, memories, ends, samples=None):
    return play(s, state, memories, ends, samples, layout=flat_layout(len(next(iter(ends.values())))))


def test_fedavg_by_hand():
    ends, samples = {0: vector(1, 0), 1: vector(4, 8)}, {0: 30, 1: 10}
    for weighting, expected in [("samples", (1.75, 2.0)), ("tokens", (1.75, 2.0)), ("uniform", (2.5, 4.0))]:
        s = flat("fedavg", weighting=weighting)
        assert flat_play(s, s.start(vector(0, 0)), {}, ends, samples)["adapter"].tolist() == list(expected)
    s = flat("fedavg", weighting="tokens")
    updates = [Update(1, k, {"adapter": ends[k]}, 10, tokens, 1, 1.0) for k, tokens in ((0, 100), (1, 300))]
    assert s.aggregate(s.start(vector(0, 0)), Updates(updates, s.needs))["adapter"].tolist() == [3.25, 6.0]


def test_fedadam_by_hand():
    """Two rounds with Delta = 2 then -1 on one coordinate, worked from Algorithm 2 of Reddi et al. 2021."""
    s = flat("fedadam", server_lr=0.5, beta_1=0.5, beta_2=0.75, tau=0.1)
    state = s.start(vector(1.0))
    assert state["v"] == pytest.approx([0.01])
    state = flat_play(s, state, {}, {0: vector(3.0)})
    m, v = 0.5 * 2, 0.75 * 0.01 + 0.25 * 4
    w = 1 + 0.5 * m / (np.sqrt(v) + 0.1)
    assert [state["m"][0], state["v"][0], state["adapter"][0]] == pytest.approx([m, v, w])
    state = flat_play(s, state, {}, {0: state["adapter"] - 1})
    m, v = 0.5 * 1 - 0.5, 0.75 * v + 0.25
    assert [state["m"][0], state["v"][0], state["adapter"][0]] == pytest.approx(
        [m, v, w + 0.5 * m / (np.sqrt(v) + 0.1)]
    )


def test_scaffold_by_hand():
    """N = 4 clients, two chosen, plain gradients g: c_k+ = g; c moves by |S|/N times the mean change."""
    s = flat("scaffold", server_lr=0.5)
    state, memories = s.start(vector(0.0)), {}
    # The engine returns as mean gradient where training started minus where it ended.
    state = flat_play(s, state, memories, {0: vector(-1.0), 1: vector(-3.0)})
    assert state["adapter"][0] == pytest.approx(0.5 * -2)
    assert state["c"][0] == pytest.approx(2 / 4 * (1 + 3) / 2)
    assert (memories[0]["c_k"][0], memories[1]["c_k"][0]) == (1.0, 3.0)
    message = s.send(state, Turn(2, 1, (1,)))
    assert set(message) == {"adapter", "c"}
    assert s.plan(message, memories[1], no_look)["shared"].correction[0] == pytest.approx(1 - 3)
    assert s.plan(message, {}, no_look)["shared"].correction[0] == pytest.approx(1)
    engine = Engine(flat_layout(1), lambda job: state["adapter"] - 5)
    update = turns(s, state, memories, {1: 10}, engine)[0].part.update
    assert update.sent["c"][0] == pytest.approx(5 - 3)
    assert s.aggregate(state, Updates([update], s.needs))["c"][0] == pytest.approx(1 + 1 / 4 * 2)


def test_scaffold_mean_gradient_is_the_papers_option_two_under_sgd(tiny_models):
    """c_k+ = c_k - c + (x - y) / (K eta) with SGD at a constant rate, on a real model."""
    from cllora.model.learner import Learner
    from cllora.model.load import load_base
    from cllora.spec import LocalSpec, LoraSpec, ModelSpec
    from support.samples import made_up_samples

    model = ModelSpec(name=str(tiny_models("opt")), context=32, device="cpu", precision="float32")
    base = load_base(model, LoraSpec(lora_dropout=0))
    learner = Learner(base, made_up_samples(), 32)
    local = LocalSpec(
        epochs=2, batch_size=8, optim="sgd", learning_rate=0.01, lr_scheduler_type="constant", max_grad_norm=0
    )
    s = strategy("scaffold")
    c = np.random.default_rng(0).normal(0, 0.1, learner.layout.size).astype(np.float32)
    x, memory = learner.initial(0), {"c_k": 2 * c}
    message = {"adapter": x, "c": c}
    done = learner.train([Job(s.plan(message, memory, no_look)["shared"], np.arange(20), ("x",))], local, 0)[0]
    _, kept = s.reply(message, memory, {"shared": done})
    np.testing.assert_allclose(kept["c_k"], 2 * c - c + (x - done.adapter) / (done.steps * 0.01), atol=2e-5)


def test_alone_by_hand():
    s = flat("alone")
    state, memories = s.start(vector(0, 0)), {}
    state = flat_play(s, state, memories, {0: vector(1, 1), 1: vector(2, 2)})
    assert np.array_equal(s.models(state)["global"].adapter, vector(0, 0))
    assert np.array_equal(s.plan({}, memories[0], lambda model: 1.0)["shared"].start, vector(1, 1))
    assert np.array_equal(s.personal({}, memories[1], lambda model: 1.0).adapter, vector(2, 2))
    assert np.array_equal(s.plan({}, {}, lambda model: 1.0)["shared"].start, FLAT.initial)


def test_ditto_by_hand():
    s = flat("ditto", lambda_=0.5)
    state, memories = s.start(vector(0.0, 0.0)), {}
    first = s.plan(s.send(state, Turn(1, 0, (0,))), {}, no_look)
    assert set(first) == {"shared", "personal"}
    assert (first["personal"].mu, first["personal"].center[0], first["personal"].start[0]) == (0.5, 0, 0)
    ends = {0: vector(1, 1), 1: vector(3, 5)}
    updates = turns(s, state, memories, {0: 30, 1: 10}, Engine(flat_layout(2), lambda job: ends[job.name[2]]))
    assert all(set(turn.part.update.sent) == {"adapter"} for turn in updates)
    state = s.aggregate(state, Updates([turn.part.update for turn in updates], s.needs))
    assert state["adapter"].tolist() == [1.5, 2.0]
    message = s.send(state, Turn(2, 1, (1,)))
    again = s.plan(message, memories[1], no_look)["personal"]
    assert again.start.tolist() == [3, 5]
    assert again.center.tolist() == [1.5, 2.0]
    assert s.personal(message, memories[1], no_look).adapter.tolist() == [3, 5]
    assert s.personal(message, {}, no_look).adapter.tolist() == [1.5, 2.0]


def no_look(model):
    raise AssertionError("the strategy looked at a client's loss")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fedagv", {}, "did you mean 'fedavg'"),
        ("fedadam", {"server_rl": 1}, "did you mean 'server_lr'"),
        ("fedadam", {"server_lr": 0}, "server_lr"),
        ("fedadam", {"beta_1": 1}, "beta_1"),
        ("fedavg", {"weighting": "smaples"}, "weighting"),
    ],
)
def test_unknown_names_and_options_are_refused_with_a_guess(name, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        strategies.bind(name, options)
    assert "\n" not in str(caught.value)
