"""What is measured where nothing differs: one trained model, real losses of texts, dealt to clients in every way.

Skew changes who holds which text, and how many, and nothing else here. So no outcome that is compared between
partitions may differ from the even control's in the mean, and no signature may fire more often than it says.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from tests.support import null_world

from cllora.metrics import NATS, SQUARED_NATS, RunRecord, metrics
from cllora.metrics.signatures import (
    Signature,
    divergence,
    early_overfitting,
    fairness_collapse,
    global_oscillation,
    never_learns,
    turns,
)

SEEDS = 8
ALARMS = 0.05
"""The false-alarm rate that signatures state (docs/method.md)."""
COMPARED = [
    metric.name
    for metric in metrics.every()
    if metric.texts == "shared" and metric.unit.name in (NATS.name, SQUARED_NATS.name)
]
OWN = [metric.name for metric in metrics.every() if metric.texts == "own"]


@cache
def runs(skew: str) -> tuple[tuple[RunRecord, RunRecord], ...]:
    """A skewed run and its even control for each seed."""
    asked = null_world.SKEWS[skew]
    return tuple((null_world.run(seed, alpha=0.1, **asked), even(seed)) for seed in range(SEEDS))


@cache
def even(seed: int) -> RunRecord:
    """A run in which the texts are dealt evenly; whatever the scheme, that is one law."""
    return null_world.run(seed, alpha="iid", **null_world.SKEWS["length"])


def differences(skew: str, name: str) -> NDArray[np.float64]:
    """The metric's skewed minus even value by seed, where it was measured."""
    metric = metrics.metric(name)
    both = runs(skew)
    if metric.against_control:
        values = [metric.value(run, control) - metric.value(control, control) for run, control in both]
    else:
        values = [metric.value(run) - metric.value(control) for run, control in both]
    return np.array([value for value in values if not math.isnan(value)])


@pytest.mark.parametrize("skew", null_world.SKEWS)
def test_no_outcome_that_is_compared_differs(skew: str) -> None:
    unmeasured = set()
    for name in COMPARED:
        values = differences(skew, name)
        if len(values) == 0:
            unmeasured.add(name)
            continue
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean()) <= 3.5 * error + 1e-9, name
    assert all(any(stem in name for stem in ("barrier", "position_loss")) for name in unmeasured)


def test_outcomes_of_clients_own_texts_would_differ_and_are_not_compared() -> None:
    """Under quantity clients with one test text spread by chance; what is of own texts is compared between equal tests
    alone."""
    run, control = runs("quantity")[0]
    assert run.tests_fingerprint != control.tests_fingerprint
    spread = differences("quantity", "change_std")
    assert spread.mean() > 5 * spread.std(ddof=1) / math.sqrt(len(spread))
    assert {"change_std", "loss_variance", "ratio_jain", "local_change", "own_gap"} <= set(OWN)


def test_who_is_tested_on_short_texts_alone_makes_no_unfairness() -> None:
    """Clients of short texts are tested on short ones, which any training changes more, so that one model for all comes
    out unequal under length skew. What is compared scores the same clients under both models."""
    plain, excess = differences("length", "change_std"), differences("length", "excess_spread")
    assert plain.mean() > 3.5 * plain.std(ddof=1) / math.sqrt(len(plain))
    assert np.abs(excess).max() < 1e-9


@pytest.mark.parametrize("skew", null_world.SKEWS)
@pytest.mark.parametrize("rule", [fairness_collapse, never_learns, global_oscillation, divergence, early_overfitting])
def test_no_signature_fires_more_often_than_it_says(skew: str, rule: Callable[..., list[Signature]]) -> None:
    """At most so often that a rate of 5 % would give it once in a thousand times."""
    read = {fairness_collapse: "clients", never_learns: "clients", global_oscillation: "curve", divergence: "curve"}
    for arm in (0, 1):
        tables = [pair[arm].tables for pair in runs(skew)]
        seen = [turns(of.gaps, []) if rule is early_overfitting else getattr(of, read[rule]) for of in tables]
        assert sum(len(rule(table)) > 0 for table in seen) <= scipy.stats.binom.ppf(0.999, SEEDS, ALARMS)


def test_a_signature_of_clients_fires_where_they_do_differ() -> None:
    """The power beside the false alarms, with ten times as many test texts: half of the clients are not helped."""
    run, _ = runs("length")[0]
    clients = run.tables.clients.assign(error=lambda table: table["error"] / math.sqrt(10))
    left_out = clients["client"] % 2 == 0
    helped = clients.assign(change=np.where(left_out | (clients["round"] == 0), 0.0, -0.8))
    assert len(never_learns(helped)) > 0
    apart = clients.assign(change=np.where(left_out, 0.4, -0.5) * (clients["round"] > 0))
    assert len(fairness_collapse(apart)) == 1
