"""Strategies written for 0.1.0 still work, with a warning; and today's come to the same numbers, to the last bit."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import cllora
from cllora.errors import UsageError, deprecated
from cllora.federated import Setting, Strategy, Turn, Updates, algorithms, strategies
from cllora.federated.old_names import made
from cllora.registry import load_plugins
from cllora.spec import Study
from cllora.store import last_round, read_losses, read_rounds
from support.strategies import adapter, setting, strategy
from support.studies import study_fields

OLD = Path(__file__).parent / "support" / "strategies_0_1_0.py"


@pytest.fixture(scope="module", autouse=True)
def old_strategies():
    """A file is loaded once in a process."""
    with strategies.restored():
        load_plugins([str(OLD)])
        yield


@pytest.fixture(autouse=True)
def warnings_are_new(monkeypatch):
    deprecated.cache_clear()


def numbers(cell):
    """Everything that a run came to but the time it took."""
    lines = [json.dumps(line, sort_keys=True) for line in map(without_seconds, read_rounds(cell))]
    last = last_round(cell)
    state = {key: array.tobytes() for key, array in last.state.items()}
    memories = {k: {key: array.tobytes() for key, array in kept.items()} for k, kept in last.memories.items()}
    return lines, read_losses(cell), state, memories


def without_seconds(line):
    clients = [{key: value for key, value in client.items() if key != "seconds"} for client in line["clients"]]
    return {**line, "clients": clients, "seconds": 0}


@pytest.mark.parametrize(
    ("name", "options"),
    [("fedavg", {"weigh": "tokens"}), ("fedadam", {"server_lr": 0.05}), ("scaffold", {}), ("ditto", {"lambda_": 0.5})],
)
def test_a_run_comes_to_what_it_came_to_in_0_1_0(name, options, tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, grid={}, control={}, load=[str(OLD)])
    fields["evaluation"] = {"surface": 2}
    found = []
    for called in (name, f"{name}_0_1_0"):
        fields["federation"] = {**fields["federation"], "strategy": {"name": called, **options}}
        found.append(numbers(cllora.run(Study.parse(fields), tmp_path / called) / "seed=0"))
    (lines, losses, state, memories), (old_lines, old_losses, old_state, old_memories) = found
    assert lines == old_lines
    assert losses.equals(old_losses)
    assert (state, memories) == (old_state, old_memories)


def test_old_names_are_taken_with_one_warning_each(caplog):
    with caplog.at_level(logging.WARNING, "cllora"):
        for _ in range(2):
            strategy("ditto_0_1_0", weigh="uniform")
            strategy("scaffold_0_1_0")
            strategy("fedavg", weigh="tokens")
    assert sorted(record.getMessage().partition(";")[0] for record in caplog.records) == [
        "Strategy(own=...) is now Strategy(personal=...)",
        "Strategy(work=...) is now Strategy(plan=...)",
        "ditto(num_clients) is now ditto(setting)",
        "scaffold(num_clients) is now scaffold(setting)",
        "send(state) is now send(state, turn)",
        "the option weigh is now weighting",
        "work(sent, memory) is now plan(message, memory, loss)",
    ]


def test_an_old_function_may_hand_its_number_on_and_look_at_every_update():
    @strategies.register()
    def halves(num_clients):
        inner = algorithms.scaffold(num_clients)

        def join(state, updates):
            assert [update.client for update in updates] == [0, 3]
            return {"adapter": 0 * updates[0].sent["adapter"] + num_clients / 2}

        return Strategy(join, inner.start)

    s = made(strategies.bind("halves", {}), setting())
    state = s.start(adapter(0))
    done = [update_of(client, adapter(client)) for client in (3, 0)]
    assert set(s.aggregate(state, Updates(done, s.needs))["adapter"]) == {2}


def update_of(client, sent):
    from cllora.types import Update

    return Update(1, client, {"adapter": sent}, 1, 1, 1, 1.0)


def test_a_strategy_that_says_that_sums_are_enough_is_shown_no_single_update():
    updates = Updates([update_of(0, adapter(0)), update_of(1, adapter(1))], "sums")
    assert len(updates) == 2
    np.testing.assert_allclose(updates.mean(), (adapter(0) + adapter(1)) / 2, rtol=1e-6)
    with pytest.raises(UsageError, match=r"needs=\"each\""):
        [update.sent for update in updates]
    with pytest.raises(UsageError, match=r"needs=\"each\""):
        updates[0]


def test_both_spellings_of_an_option_at_once_are_refused():
    with pytest.raises(UsageError, match="weigh is now called weighting; give it once"):
        strategies.bind("fedavg", {"weigh": "tokens", "weighting": "samples"})


def test_named_draws_depend_on_the_seed_and_the_name_alone():
    one, again, other = setting(), setting(), setting(seed=8)
    assert isinstance(one, Setting)
    draws = [s.rng("noise", Turn(1, 2, (2,)).round).normal() for s in (one, again, other)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != one.rng("noise", 2).normal()
