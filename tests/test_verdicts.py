"""Every claim on made-up studies that support it, contradict it, leave it undecided and do not test it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cllora import claims, stats
from cllora.analysis import Results, Run
from cllora.analysis import results as read_runs
from cllora.claims import Comparison, Verdict, judged
from cllora.metrics import losses
from cllora.reports.say import say
from cllora.spec import Experiment, PartitionSpec
from cllora.studies.cllora_paper.skew import skew_of
from cllora.types.environment import DataRecord, Environment, MessageSizes
from support.reports import drawn, section
from support.synthetic import make_partition, make_study, write_study

ROUNDS, CLIENTS = 8, 6
SIZES = np.array([5, 5, 5, 5, 20, 80])
BASE = 3.5
SHARE = 0.02
"""The share of the control's gain, 0.5, that the margin is here: 0.01."""
LENGTH: dict[str, Any] = {"scheme": "client_mix", "overlap": True}
QUANTITY: dict[str, Any] = {"scheme": "quantity"}
NOISE = (-0.002, 0.001, 0.0, 0.002, -0.001)
WIDE = (-0.2, 0.1, 0.0, 0.2, -0.1)


@cache
def experiment(seed: int, partition: tuple[tuple[str, Any], ...], more: tuple[tuple[str, Any], ...]) -> Experiment:
    fields: dict[str, Any] = {"federation": {"num_rounds": ROUNDS}, "partition": {"num_clients": CLIENTS}}
    fields["partition"] |= dict(partition)
    for path, value in more:
        section, field = path.split(".")
        fields.setdefault(section, {})[field] = value
    return Experiment.parse({**fields, "seed": seed})


@cache
def dealt(cut: float = 0.0) -> Any:
    """Half of the clients hold texts of class 0 alone, the others of class 1; the global test set has two of each."""
    made = make_partition(make_study(clients=CLIENTS).cells()[0].experiment)
    classes = made.heterogeneity.classes
    described = tuple(replace(one, share_cut=cut) for one in classes.described)
    measured = replace(made.heterogeneity, classes=replace(classes, described=described))
    owners = np.repeat(np.arange(CLIENTS), SIZES)
    return replace(
        made,
        train_ids=np.arange(4, 4 + SIZES.sum()),
        train_offsets=np.concatenate([[0], np.cumsum(SIZES)]),
        global_test=np.arange(4),
        class_of=np.concatenate([[0, 0, 1, 1], owners % 2]),
        measured=measured,
    )


def run(
    seed: int,
    asked: Mapping[str, Any],
    *,
    final: float = 3.0,
    by_text: float = 0.0,
    swing: float = 0.1,
    local: float = -0.2,
    much: float = -0.05,
    little: float = -0.05,
    spread: float = 0.02,
    apart: float = 0.0,
    saved: float = 0.9995,
    size: float = 1.3e8,
    cut: float = 0.0,
    **more: Any,
) -> Run:
    """A run whose numbers are as given: `much` and `little` are the rises of the clients of that kind, `spread` that of
    their own adapters, `apart` how much more the global model gains class 0 than class 1, `by_text` what the loss of
    texts that count once is above that of tokens."""
    rounds = more.get("federation_num_rounds", ROUNDS)
    loss = np.array([BASE, *(final + swing * (-1) ** t for t in range(rounds))])
    curve = pd.DataFrame({"round": range(rounds + 1), "loss": loss, "loss_per_sample": loss + by_text})
    turns = [(t, k) for t in range(1, rounds + 1) for k in range(CLIENTS)]
    rises = [loss[t - 1] + (much if SIZES[k] > SIZES.mean() else little) for t, k in turns]
    gaps = pd.DataFrame(turns, columns=["round", "client"]).assign(
        test_local=rises, own_local=local + BASE, own_change=local
    )
    own = pd.DataFrame([(t, k, c) for t, k in turns for c in (0, 1)], columns=["round", "client", "class"])
    texts = [(t, i, loss[t] + (t > 0) * apart * (2 * (i > 1) - 1)) for t in range(rounds + 1) for i in range(4)]
    ends = {"round": rounds, "client": range(CLIENTS), "change": -0.3, "loss": BASE - 0.3, "base": BASE}
    clients = pd.DataFrame(ends).assign(ratio=lambda x: x["loss"] / x["base"], samples=4, tokens=10, error=0.01)
    tables = losses.Tables(
        curve=curve,
        classes=curve,
        clients=clients,
        gaps=gaps,
        personal=clients.iloc[:0],
        texts=pd.DataFrame(texts, columns=["round", "sample", "nll"]).assign(tokens=1),
        local_classes=own.assign(loss=BASE + local, loss_per_sample=BASE + local, tokens=10, samples=2),
    )
    cell = ", ".join(f"{name} = {value}" for name, value in {**asked, **more}.items() if name != "scheme")
    outcome = dict.fromkeys(("matched_change", "matched_change_per_sample"), local)
    outcome |= {"late_loss": final, "late_loss_per_sample": final + by_text, "change": final - BASE}
    outcome |= {"local_spread": spread, "saved": saved}
    return Run(
        folder=Path(),
        labels={"cell": cell},
        experiment=experiment(seed, tuple(asked.items()), tuple((k.replace("_", ".", 1), v) for k, v in more.items())),
        partition=dealt(cut),
        rounds=[{"round": t, "clients": []} for t in range(rounds + 1)],
        tables=tables,
        environment=environment(size),
        outcome=outcome,
    )


def environment(size: float | None = 1.3e8, data: str = "data") -> Environment:
    parameters = None if size is None else int(size)
    return Environment(data=DataRecord(fingerprint=data), communication=MessageSizes(full_parameters=parameters))


def study(
    asked: Mapping[str, Any], skewed: Callable[[float], dict[str, Any]], noise: Sequence[float] = NOISE, **both: Any
) -> list[Run]:
    """Runs at alpha 0.1, with the numbers that `skewed` makes of each seed's noise, and their controls."""
    made = [run(i, {**asked, "alpha": 0.1}, **{**both, **skewed(x)}) for i, x in enumerate(noise)]
    return [*made, *(run(i, {**asked, "alpha": "iid"}, **both) for i in range(len(noise)))]


def sizes(
    small: float, large: float, noise: Sequence[float] = NOISE, names: Sequence[str] = ("s", "l"), factor: float = 1.0
) -> list[Run]:
    """Two models, to whose global loss length skew adds so much."""
    models = [(names[0], 1e8, 5, small), (names[1], 1e9, 1, large)]
    return [
        case
        for name, size, epochs, effect in models
        for case in study(LENGTH, final(effect), noise, size=size * factor, model_name=name, local_epochs=epochs)
    ]


def contexts(short: float, long: float, noise: Sequence[float] = NOISE, cut: float = 0.01, **more: Any) -> list[Run]:
    """Two contexts, at which length skew adds so much to the global loss; the shorter cuts a third of the texts."""
    made = [(128, 0.35, short, NOISE), (2048, cut, long, noise)]
    return [
        case
        for context, share, effect, spread in made
        for case in study(LENGTH, final(effect), spread, cut=share, model_context=context, **more)
    ]


def final(effect: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"final": 3 + effect + x}


def local(effect: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"local": -0.2 + effect + x}


def both(effect: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"local": -0.2 + effect + x, "final": 3 + effect + x}


def turned(much: float, little: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"much": much + x, "little": little + x}


def spreads(spread: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"spread": spread + x}


def helps(apart: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"apart": apart + x}


def swings(times: float, unrest: float = 1.0) -> Callable[[float], dict[str, Any]]:
    """So many times the control's swings."""
    return lambda x: {"swing": 0.1 * times * math.exp(unrest * x)}


TEN = {"federation_num_rounds": 10}
STUDIES: list[tuple[str, str, Callable[[], list[Run]]]] = [
    ("a", "supported", lambda: study(LENGTH, local(0.002))),
    ("a", "contradicted", lambda: study(LENGTH, local(0.05))),
    ("a", "contradicted", lambda: study(LENGTH, local(-0.05))),
    ("a", "undecided", lambda: study(LENGTH, local(0.0), WIDE)),
    ("a", "undecided", lambda: study(LENGTH, local(0.01))),
    ("a", "not tested", lambda: study(QUANTITY, local(0.0))),
    ("a", "not tested", lambda: study(LENGTH, local(math.nan))),
    ("b", "supported", lambda: study(LENGTH, final(0.05))),
    ("b", "supported", lambda: study(LENGTH, final(-0.05))),
    ("b", "contradicted", lambda: study(LENGTH, final(0.0))),
    ("b", "contradicted", lambda: study(LENGTH, final(0.005))),
    ("b", "undecided", lambda: study(LENGTH, final(0.05), WIDE)),
    ("b", "not tested", lambda: study(QUANTITY, final(0.05))),
    ("c", "supported", lambda: study(LENGTH, swings(4))),
    ("c", "supported", lambda: study(LENGTH, swings(4), swing=0.001)),
    ("c", "contradicted", lambda: study(LENGTH, swings(1))),
    ("c", "contradicted", lambda: study(LENGTH, swings(0.1))),
    ("c", "undecided", lambda: study(LENGTH, swings(1.4, 5), WIDE)),
    ("c", "not tested", lambda: study(QUANTITY, swings(4))),
    ("c", "not applicable", lambda: study(LENGTH, swings(4), size=1.3e9)),
    ("d", "supported", lambda: sizes(0.1, 0.02)),
    ("d", "supported", lambda: sizes(0.02, -0.1)),
    ("d", "contradicted", lambda: sizes(0.02, 0.1)),
    ("d", "contradicted", lambda: sizes(0.1, 0.1)),
    ("d", "undecided", lambda: [*sizes(0.1, 0.02, WIDE)[:10], *sizes(0.1, 0.02)[10:]]),
    ("d", "not tested", lambda: sizes(0.1, 0.02)[:10]),
    ("d", "not applicable", lambda: sizes(0.1, 0.02, names=("embedded-64", "embedded"))),
    ("e", "supported", lambda: study(QUANTITY, both(0.05))),
    ("e", "contradicted", lambda: study(QUANTITY, both(-0.05))),
    ("e", "contradicted", lambda: study(QUANTITY, final(0.05))),
    ("e", "undecided", lambda: study(QUANTITY, both(0.05), WIDE)),
    ("e", "not tested", lambda: study(LENGTH, both(0.05))),
    ("f", "supported", lambda: study(QUANTITY, turned(0.05, -0.01))),
    ("f", "contradicted", lambda: study(QUANTITY, turned(-0.05, -0.01))),
    ("f", "contradicted", lambda: study(QUANTITY, turned(0.05, -0.1))),
    ("f", "undecided", lambda: study(QUANTITY, turned(0.05, -0.01), WIDE)),
    ("f", "not tested", lambda: study(LENGTH, turned(0.05, -0.01))),
    ("g", "supported", lambda: study(QUANTITY, spreads(0.1))),
    ("g", "contradicted", lambda: study(QUANTITY, spreads(0.02))),
    ("g", "contradicted", lambda: study(QUANTITY, spreads(0.0))),
    ("g", "undecided", lambda: study(QUANTITY, spreads(0.1), WIDE)),
    ("g", "not tested", lambda: study(LENGTH, spreads(0.1))),
    ("h", "supported", lambda: study(LENGTH, final(0.0))),
    ("h", "contradicted", lambda: study(LENGTH, final(0.0), saved=0.998)),
    ("h", "not applicable", lambda: study(LENGTH, final(0.0), saved=0.998, size=4.7e6)),
    ("h", "not tested", lambda: study(LENGTH, final(0.0), lora_r=8)),
    ("h", "not tested", lambda: study(LENGTH, final(0.0), saved=math.nan)),
    ("i", "supported", lambda: contexts(0.05, 0.05)),
    ("i", "supported", lambda: contexts(0.0, -0.05)),
    ("i", "contradicted", lambda: contexts(0.05, 0.0)),
    ("i", "contradicted", lambda: contexts(0.05, 0.005)),
    ("i", "undecided", lambda: contexts(0.05, 0.05, WIDE)),
    ("i", "undecided", lambda: [*contexts(0.05, 0.05, model_attention="s2"), *contexts(0.05, 0.05, WIDE)]),
    ("i", "not tested", lambda: contexts(0.05, 0.05, cut=0.1)),
    ("i", "not tested", lambda: study(LENGTH, final(0.05), model_context=2048)),
    ("i", "not tested", lambda: study(QUANTITY, final(0.05))),
    ("j", "supported", lambda: study(LENGTH, final(0.05))),
    ("j", "contradicted", lambda: study(LENGTH, local(0.05))),
    ("j", "contradicted", lambda: study(LENGTH, both(0.05))),
    ("j", "undecided", lambda: study(LENGTH, final(0.05), WIDE)),
    ("j", "not tested", lambda: study(QUANTITY, final(0.05))),
    ("k", "supported", lambda: study(LENGTH, helps(0.0))),
    ("k", "contradicted", lambda: study(LENGTH, helps(0.05))),
    ("k", "undecided", lambda: study(LENGTH, helps(0.01))),
    ("k", "not tested", lambda: study(QUANTITY, helps(0.05))),
    ("l", "supported", lambda: sizes(0.1, -0.05)),
    ("l", "contradicted", lambda: sizes(-0.1, 0.05)),
    ("l", "contradicted", lambda: sizes(-0.1, 0.0)),
    ("l", "undecided", lambda: sizes(0.1, -0.05, WIDE)),
    ("l", "not tested", lambda: study(LENGTH, final(-0.05))),
    ("m", "supported", lambda: study(LENGTH, final(0.05), **TEN)),
    ("m", "supported", lambda: study(QUANTITY, final(0.05), **TEN)),
    ("m", "contradicted", lambda: study(LENGTH, final(0.0), **TEN)),
    ("m", "contradicted", lambda: [*study(LENGTH, final(0.05), **TEN), *study(QUANTITY, final(-0.05), **TEN)]),
    ("m", "undecided", lambda: study(LENGTH, final(0.05), WIDE, **TEN)),
    ("m", "not tested", lambda: [run(i, {**LENGTH, "alpha": "iid"}, **TEN) for i in range(5)]),
    ("m", "not applicable", lambda: study(LENGTH, final(0.05))),
]
DECIDED_BY_SEEDS = "abcdefgijklm"
"""The claims that are no arithmetic."""


class MadeUp(Results):
    """The results of runs that are called as their labels say."""

    def cell(self, labels: Mapping[str, str]) -> str:
        return labels["cell"]


def results(runs: Sequence[Run]) -> Results:
    return MadeUp("made up", {}, {}, runs, margin=SHARE)


def of(letter: str, cases: Sequence[Run]) -> Verdict:
    return claims.verdict(f"paper/{letter}", results(cases))


@pytest.mark.parametrize(("letter", "verdict", "make"), STUDIES)
def test_every_claim_gets_the_verdict_that_the_study_shows(
    letter: str, verdict: str, make: Callable[[], list[Run]]
) -> None:
    found = of(letter, make())
    assert found.kind == verdict
    assert "nan" not in found.why
    if verdict.startswith("not"):
        runs = f"run `cllora run {'ablate/context' if letter == 'i' else 'paper/'}"
        assert (runs in found.why) == (verdict == "not tested")
        assert not found.cells
        return
    assert found.cells
    if letter != "h":
        assert found.low <= found.effect <= found.high
        assert found.seeds == 5
    if verdict == "undecided":
        assert "seeds needed" in found.why
        assert any(part.kind == "undecided" for part in found.comparisons)


@pytest.mark.parametrize("letter", DECIDED_BY_SEEDS)
def test_one_seed_is_never_enough(letter: str) -> None:
    strong = next(make for known, verdict, make in STUDIES if (known, verdict) == (letter, "supported"))
    found = of(letter, [case for case in strong() if case.experiment.seed == 0])
    assert found.kind == "undecided"
    assert "one seed shows no spread" in found.why
    assert math.isnan(found.low)


def unfinished(case: Run) -> Run:
    """The run before its last round."""
    return replace(case, tables=replace(case.tables, curve=case.tables.curve.iloc[:-1]))


@pytest.mark.parametrize("letter", DECIDED_BY_SEEDS)
def test_runs_under_way_or_of_other_data_are_not_paired(letter: str) -> None:
    strong = next(make for known, verdict, make in STUDIES if (known, verdict) == (letter, "supported"))
    cells = [(case, case.labels["cell"]) for case in strong()]
    begun = [case if cell.endswith("iid") else unfinished(case) for case, cell in cells]
    other = [replace(case, environment=environment(data=str("iid" in cell))) for case, cell in cells]
    for cases in (begun, other):
        assert of(letter, cases).kind == "not tested"


def test_all_claims_are_judged_in_order() -> None:
    verdicts = claims.verdicts(results(study(LENGTH, final(0.05))))
    labels = [one.claim.label for one in verdicts if one.claim.name.startswith("paper/")]
    assert labels == list("abcdefghijklm")


def test_a_claim_must_hold_in_every_setting() -> None:
    at = {context: study(LENGTH, final(0.05), model_context=context) for context in (64, 128)}
    none = study(LENGTH, final(0.0), model_context=256)
    whole = of("b", [*at[64], *at[128]])
    assert (whole.kind, len(whole.comparisons)) == ("supported", 4)
    mixed = of("b", [*at[64], *none])
    assert mixed.kind == "contradicted"
    assert "model_context = 256: smaller than 0.01; it holds for" in mixed.why


def test_each_comparison_supports_by_itself_and_contradictions_are_corrected_for_their_number() -> None:
    """A claim of all is wrong only if it is wrong of one; that any fails would be found by chance among many."""
    at = {context: study(LENGTH, final(0.05), model_context=context) for context in (64, 128)}
    assert of("b", [*at[64], *at[128]]).low == of("b", at[64]).low
    none = {context: study(LENGTH, final(0.0), model_context=context) for context in (64, 128)}
    assert of("b", [*none[64], *none[128]]).low < of("b", none[64]).low


def test_an_effect_on_tokens_alone_is_no_effect_on_the_global_model() -> None:
    """Skew moves what is trained from the mean over tokens towards that over texts, as a batch of short texts gives
    each of its tokens more weight: a verdict of one weighting says which is meant, not which model is better."""
    moved = study(LENGTH, lambda x: {"final": 3.05 + x, "by_text": -0.05})
    found = of("b", moved)
    assert found.kind == "contradicted"
    assert [(part.name.split(",")[0], part.kind) for part in found.comparisons] == [
        ("per token", "supported"),
        ("per text", "contradicted"),
    ]


def test_an_oscillation_that_is_there_is_not_denied_for_being_small() -> None:
    """It is held to the control's and not to a margin in nats, which next to all that training gains would have to
    swing for."""
    found = of("c", study(LENGTH, swings(0.04), swing=0.001))
    assert (found.kind, found.effect) == ("supported", pytest.approx(math.log(4), abs=0.01))


def test_over_fitting_is_more_than_the_control_s_clients_do() -> None:
    """While every turn still lowers the loss, that those of much data do is no sign against over-fitting; what they
    gain less than the control's clients in the same rounds is one for it."""
    found = of("f", study(QUANTITY, turned(-0.02, -0.01)))
    assert found.kind == "supported"
    assert found.comparisons[0].difference == pytest.approx(0.03, abs=0.001)


def test_runs_in_which_no_client_with_much_data_was_chosen_early_are_told() -> None:
    cases = study(QUANTITY, turned(0.05, -0.01))
    without = cases[0].tables.gaps.query("round > 4 or client < 4")
    chance = [replace(cases[0], tables=replace(cases[0].tables, gaps=without)), *cases[1:]]
    found = of("f", chance)
    assert found.comparisons[0].seeds == 4
    assert "in 1 of 5 skewed runs no client with much data was chosen early" in found.why


def test_the_seeds_needed_are_of_the_verdict_s_own_tests() -> None:
    """At the level that each comparison is tested at, and not at half of it."""
    found = of("b", study(LENGTH, final(0.05), WIDE))
    values = [0.05 + x for x in WIDE]
    part = found.comparisons[0]
    assert (part.needed, part.needed_most) == stats.needed(values, part.margin, 0.05 / 2)
    local_part = of("a", study(LENGTH, local(0.0), WIDE)).comparisons[0]
    assert local_part.needed == stats.needed(WIDE, local_part.margin, 0.05)[0] < part.needed


def test_a_claim_and_the_effects_give_one_answer_to_one_question() -> None:
    """Equivalence is tested at 5 % in both; at half of that, one page called it equivalent and another undecided."""
    values = np.array([-0.006, 0.012, 0.001, 0.009, -0.003, 0.002]) * 1.2
    assert 0.025 < stats.p_of_equivalence(values, 0.01) < 0.05
    family = stats.adjust_for_multiplicity([values], 0.01)
    verdict = judged(claims.claim("paper/k"), [Comparison("", values, (), 0.01)])
    assert (bool(family.equivalent[0]), verdict.kind) == (True, "supported")


def test_what_was_not_measured_leaves_undecided_what_the_rest_supports() -> None:
    found = of("e", study(QUANTITY, lambda x: {"final": 3.05 + x, "local": math.nan}))
    assert (found.kind, found.why) == ("undecided", "not measured: local per token, local per text")
    assert found.low < found.effect < found.high


def test_the_strongest_skew_is_judged_and_a_weak_one_is_none() -> None:
    weak = [run(i, {**LENGTH, "alpha": 100}, final=9.0) for i in range(5)]
    assert of("b", [*weak, *study(LENGTH, final(0.05))]).effect == pytest.approx(0.05, abs=0.001)
    even = [case for case in study(LENGTH, final(0.05)) if "iid" in case.labels["cell"]]
    assert of("b", [*weak, *even]).kind == "not tested"


def test_the_control_may_be_another_scheme() -> None:
    skewed = [case for case in study(QUANTITY, both(0.05)) if "iid" not in case.labels["cell"]]
    even = [run(i, {"scheme": "iid"}) for i in range(5)]
    assert of("e", [*skewed, *even]).kind == "supported"


def test_the_smallest_model_is_asked_whether_it_oscillates() -> None:
    small = study(LENGTH, swings(4), size=1e8, model_name="s")
    large = study(LENGTH, swings(1), size=1e9, model_name="l")
    assert of("c", [*large, *small]).kind == "supported"
    assert of("c", [replace(case, environment=environment(None)) for case in [*large, *small]]).kind == "not tested"


def test_what_is_said_of_models_that_differ_in_epochs_and_of_those_a_claim_is_not_of() -> None:
    assert "the models differ in local epochs too" in of("d", sizes(0.1, 0.02)).why
    tokens = "the bases were pretrained on 1.2 to 18.3 million tokens"
    assert tokens in of("d", sizes(0.1, 0.02, names=("embedded-64", "embedded"))).why
    assert of("d", sizes(0.1, 0.02, names=("embedded-64", "embedded-128"))).kind == "supported"
    small = study(LENGTH, final(0), saved=0.99, size=4.7e6)
    assert "4.7 million parameters, the paper's smallest has 125 million" in of("h", small).why
    whole = study(LENGTH, final(0.0), model_name="whole")
    assert of("h", [*small, *whole]).kind == "supported"
    assert "has no small model" in of("c", study(LENGTH, swings(4), size=1.3e9)).why
    both = [*study(LENGTH, final(0.05), **TEN), *study(QUANTITY, final(0.0))]
    assert (of("m", both).kind, len(of("m", both).comparisons)) == ("supported", 1)


def test_without_cutting_the_effect_is_judged_and_its_change_is_told() -> None:
    """By seed, what skew adds where next to nothing is cut minus where a third is."""
    found = of("i", contexts(0.02, 0.05, NOISE[::-1]))
    decides, _, change, _ = found.comparisons  # per token and per text, and what each changes by
    assert decides.difference == found.effect == pytest.approx(0.05, abs=1e-9)
    assert "model_context = 2048" in decides.cells[0]
    assert change.name.endswith("against overlap = True, alpha = 0.1, model_context = 128")
    assert change.difference == pytest.approx(0.03, abs=1e-9)
    assert change.low < change.difference < change.high
    assert f"{change.name}: another effect" in found.why
    assert found.why.endswith("; texts cut: 35.0 % at 128, 1.0 % at 2048")
    assert "the same effect within 0.01" in of("i", contexts(0.05, 0.05)).why
    assert "seeds needed; texts cut" in of("i", contexts(0.05, 0.05, WIDE)).why
    still = of("i", contexts(0.05, 0.05, cut=0.1)).why
    assert "no context that cuts at most 5 % (texts cut: 35.0 % at 128, 10.0 % at 2048)" in still


def test_every_attention_is_held_to_its_own_longest_context() -> None:
    both = [*contexts(0.05, 0.05), *contexts(0.05, 0.0, model_attention="s2")]
    found = of("i", both)
    assert (found.kind, len(found.comparisons)) == ("contradicted", 8)
    stretched = [case for case in contexts(0.05, 0.05) if case.experiment.model.context == 128]
    stretched += study(LENGTH, final(0.05), model_context=4096, model_positions="linear")
    assert of("i", stretched).kind == "supported"


def test_what_a_context_cuts_is_asked_of_each_setting() -> None:
    """Two tokenizers make more and fewer tokens of the same texts."""
    many = contexts(0.05, 0.0, cut=0.1, model_name="many")
    for cases in ([*contexts(0.05, 0.05), *many], [*many, *contexts(0.05, 0.05)]):
        found = of("i", cases)
        assert (found.kind, len(found.comparisons)) == ("supported", 4)
        assert all(f"{share} % at 2048" in found.why for share in ("1.0", "10.0"))


@pytest.mark.parametrize(
    ("asked", "skew"),
    [
        ({"scheme": "client_mix", "alpha": 0.1}, ("length", 0.1)),
        ({"scheme": "client_mix"}, ("length", 1.0)),
        ({"scheme": "client_mix", "alpha": 1, "overlap": True, "by": "seen_tokens"}, ("length", 1.0)),
        ({"scheme": "client_mix", "alpha": "iid"}, ("none", math.inf)),
        ({"scheme": "client_mix", "alpha": "iid", "quantity_alpha": 0.5}, ("quantity", 0.5)),
        ({"scheme": "quantity", "alpha": 0.5}, ("quantity", 0.5)),
        ({"scheme": "quantity", "alpha": "iid"}, ("none", math.inf)),
        ({"scheme": "iid"}, ("none", math.inf)),
    ],
)
def test_a_skew_is_read_off_the_partition(asked: dict[str, Any], skew: tuple[str, float]) -> None:
    assert skew_of(PartitionSpec.model_validate(asked)) == skew


@pytest.mark.parametrize(
    "asked",
    [
        {"scheme": "client_mix", "alpha": 0.1, "by": "mtld"},
        {"scheme": "client_mix", "alpha": 0.1, "residual_on": "length"},
        {"scheme": "client_mix", "alpha": 0.1, "quantity_alpha": 0.1},
        {"scheme": "client_mix", "alpha": "iid", "and_alpha": 0.1, "and_by": "mtld"},
        {"scheme": "class_split", "alpha": 0.1},
        {"scheme": "natural"},
    ],
)
def test_other_skews_and_two_at_once_test_no_claim(asked: dict[str, Any]) -> None:
    assert skew_of(PartitionSpec.model_validate(asked))[0] == "other"


def test_the_report_has_a_row_for_every_tested_claim(tmp_path: Path) -> None:
    runs = read_runs(write_study(tmp_path, make_study(num_seeds=3, rounds=5)))
    figure = drawn("verdicts", runs)
    assert figure.shown is not None
    assert [claim[1] for claim in figure.shown["claim"]] == list("abchjkm")
    kinds = "✔ supported|✘ contradicted|\\? undecided|∅ not applicable"
    assert figure.shown["verdict"].str.contains(kinds).all()
    assert set(figure.table["claim"]) == set("abchjkm")
    (fact,) = section("verdicts", runs).facts
    assert "this study tests 5" in say(fact)
    assert say(fact).endswith("not applicable: (c) and (m).")
    assert figure.title == "The paper's claims"
    levels, about, untested = figure.notes
    assert levels.startswith("Each comparison supports a claim at 5 %")
    at = figure.table.dropna(subset=["level"])
    assert {*at.loc[at["of_comparison"] != "contradicted", "level"]} <= {0.95}
    assert about.startswith("The claims of the paper that this study tests, and the question (i)")
    assert all(f"({letter})" in untested for letter in "defgil")
    assert "`cllora run paper/quantity`" in untested


def test_a_study_that_tests_no_claim_has_no_such_section(tmp_path: Path) -> None:
    study = make_study(grid={"lora.r": [4, 8]}, control={})
    assert not section("verdicts", read_runs(write_study(tmp_path, study))).asked
