"""Laws that hold for every registered strategy, and each strategy against an example worked by hand."""

import numpy as np
import pytest

from cllora.errors import UsageError
from cllora.federated import Strategy, strategies
from cllora.types import Job, Trained, Update

CLIENTS = 4
every_strategy = pytest.mark.parametrize("name", strategies.names())


def vector(*values):
    return np.array(values, np.float32)


def strategy(name, **options):
    return strategies.bind(name, options)(CLIENTS)


def trained(adapter, samples=10, gradient=None):
    return Trained(adapter, samples, 10 * samples, 2, 1.0, gradient)


def play(s: Strategy, state, memories, adapters, samples=None):
    """A round in which client k's training ends at adapters[k], whatever it was given; the updates and memories."""
    updates = []
    for client, adapter in adapters.items():
        n = (samples or {}).get(client, 10)
        sent = s.send(state)
        memory = memories.get(client, {})
        pieces = {
            name: trained(adapter, n, sent["adapter"] - adapter if work.gradient else None)
            for name, work in s.work(sent, memory).items()
        }
        reply, memories[client] = s.reply(sent, memory, pieces)
        updates.append(Update(1, client, reply, n, 10 * n, 2, 1.0))
    return updates


@every_strategy
def test_state_and_adapters_stay_float32_and_inputs_unchanged(name):
    s = strategy(name)
    state = s.start(vector(1, 2, 3))
    adapters = {0: vector(2, 2, 2), 3: vector(0, 1, 5)}
    updates = play(s, state, {}, adapters)
    kept = {k: v.copy() for k, v in state.items()}
    sent = [{k: v.copy() for k, v in u.sent.items()} for u in updates]
    joined = s.join(state, updates)
    assert set(joined) == set(state)
    assert all(v.dtype == np.float32 and v.shape == (3,) for v in joined.values())
    assert all(np.array_equal(state[k], v) for k, v in kept.items())
    for update, before in zip(updates, sent, strict=True):
        assert all(np.array_equal(update.sent[k], v) for k, v in before.items())


@every_strategy
def test_agreement_with_the_global_adapter_is_a_fixed_point(name):
    s = strategy(name)
    start = vector(0.1, -2, 3e-5)
    state = s.start(start)
    for _ in range(3):
        state = s.join(state, play(s, state, {}, {0: start, 1: start, 2: start}, {0: 3, 1: 7, 2: 11}))
    np.testing.assert_allclose(state["adapter"], start, rtol=1e-6)


@every_strategy
def test_order_of_clients_does_not_matter(name):
    s = strategy(name)
    state = s.start(vector(1, 2, 3))
    adapters = {k: vector(*np.random.default_rng(k).normal(size=3)) for k in range(4)}
    updates = play(s, state, {}, adapters, {0: 5, 1: 50, 2: 7, 3: 1})
    one, other = s.join(state, updates), s.join(state, updates[::-1])
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-6, atol=1e-7)


@every_strategy
def test_scaling_all_weights_changes_nothing(name):
    s = strategy(name)
    state = s.start(vector(1, 2, 3))
    adapters = {0: vector(2, 2, 2), 1: vector(0, 1, 5)}
    few = s.join(state, play(s, state, {}, adapters, {0: 1, 1: 3}))
    many = s.join(state, play(s, state, {}, adapters, {0: 100, 1: 300}))
    for key in few:
        np.testing.assert_allclose(few[key], many[key], rtol=1e-6)


@every_strategy
def test_a_client_is_given_the_global_adapter_and_only_vectors_cross(name):
    s = strategy(name)
    start = vector(1, 2, 3)
    sent = s.send(s.start(start))
    work = s.work(sent, {})
    assert np.array_equal(sent["adapter"], start)
    assert np.array_equal(work["shared"].start, start)
    assert all(v.dtype == np.float32 and v.shape == start.shape for v in sent.values())


@every_strategy
def test_a_client_never_chosen_has_no_memory_to_need(name):
    own = strategy(name).own(vector(1, 2), {})
    assert own is None or np.array_equal(own, vector(1, 2))


def test_fedavg_by_hand():
    adapters, samples = {0: vector(1, 0), 1: vector(4, 8)}, {0: 30, 1: 10}
    for weigh, expected in [("samples", (1.75, 2.0)), ("tokens", (1.75, 2.0)), ("uniform", (2.5, 4.0))]:
        s = strategy("fedavg", weigh=weigh)
        state = s.start(vector(0, 0))
        assert s.join(state, play(s, state, {}, adapters, samples))["adapter"].tolist() == list(expected)
    s = strategy("fedavg", weigh="tokens")
    updates = [Update(1, k, {"adapter": adapters[k]}, 10, tokens, 1, 1.0) for k, tokens in ((0, 100), (1, 300))]
    assert s.join(s.start(vector(0, 0)), updates)["adapter"].tolist() == [3.25, 6.0]


def test_fedadam_by_hand():
    """Two rounds with Delta = 2 then -1 on one coordinate, worked from Algorithm 2 of Reddi et al. 2021."""
    s = strategy("fedadam", server_lr=0.5, beta_1=0.5, beta_2=0.75, tau=0.1)
    state = s.start(vector(1.0))
    assert state["v"] == pytest.approx([0.01])
    state = s.join(state, play(s, state, {}, {0: vector(3.0)}))
    m, v = 0.5 * 2, 0.75 * 0.01 + 0.25 * 4
    w = 1 + 0.5 * m / (np.sqrt(v) + 0.1)
    assert [state["m"][0], state["v"][0], state["adapter"][0]] == pytest.approx([m, v, w])
    state = s.join(state, play(s, state, {}, {0: state["adapter"] - 1}))
    m, v = 0.5 * 1 - 0.5, 0.75 * v + 0.25
    assert [state["m"][0], state["v"][0], state["adapter"][0]] == pytest.approx(
        [m, v, w + 0.5 * m / (np.sqrt(v) + 0.1)]
    )


def test_scaffold_by_hand():
    """N = 4 clients, two chosen, plain gradients g: c_k+ = g; c moves by |S|/N times the mean change."""
    s = strategy("scaffold", server_lr=0.5)
    state, memories = s.start(vector(0.0)), {}
    # play() returns as mean gradient what was sent minus where training ended.
    state = s.join(state, play(s, state, memories, {0: vector(-1.0), 1: vector(-3.0)}))
    assert state["adapter"][0] == pytest.approx(0.5 * -2)
    assert state["c"][0] == pytest.approx(2 / 4 * (1 + 3) / 2)
    assert (memories[0]["c_k"][0], memories[1]["c_k"][0]) == (1.0, 3.0)
    sent = s.send(state)
    assert set(sent) == {"adapter", "c"}
    assert s.work(sent, memories[1])["shared"].correction[0] == pytest.approx(1 - 3)
    assert s.work(sent, {})["shared"].correction[0] == pytest.approx(1)
    updates = play(s, state, memories, {1: state["adapter"] - 5})
    assert updates[0].sent["c"][0] == pytest.approx(5 - 3)
    assert s.join(state, updates)["c"][0] == pytest.approx(1 + 1 / 4 * 2)


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
    sent = {"adapter": x, "c": c}
    done = learner.train([Job(s.work(sent, memory)["shared"], np.arange(20), ("x",))], local, 0)[0]
    _, kept = s.reply(sent, memory, {"shared": done})
    np.testing.assert_allclose(kept["c_k"], 2 * c - c + (x - done.adapter) / (done.steps * 0.01), atol=2e-5)


def test_ditto_by_hand():
    s = strategy("ditto", lambda_=0.5)
    state, memories = s.start(vector(0.0, 0.0)), {}
    first = s.work(s.send(state), {})
    assert set(first) == {"shared", "personal"}
    assert (first["personal"].mu, first["personal"].center[0], first["personal"].start[0]) == (0.5, 0, 0)
    updates = play(s, state, memories, {0: vector(1, 1), 1: vector(3, 5)}, {0: 30, 1: 10})
    assert all(set(update.sent) == {"adapter"} for update in updates)
    state = s.join(state, updates)
    assert state["adapter"].tolist() == [1.5, 2.0]
    again = s.work(s.send(state), memories[1])["personal"]
    assert again.start.tolist() == [3, 5]
    assert again.center.tolist() == [1.5, 2.0]
    assert s.own(state["adapter"], memories[1]).tolist() == [3, 5]
    assert s.own(state["adapter"], {}).tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fedagv", {}, "did you mean 'fedavg'"),
        ("fedadam", {"server_rl": 1}, "did you mean 'server_lr'"),
        ("fedadam", {"server_lr": 0}, "server_lr"),
        ("fedadam", {"beta_1": 1}, "beta_1"),
        ("fedavg", {"weigh": "smaples"}, "weigh"),
    ],
)
def test_unknown_names_and_options_are_refused_with_a_guess(name, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        strategies.bind(name, options)
    assert "\n" not in str(caught.value)
