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
from cllora.claims import Rule, Verdict, decide, over_all
from cllora.metrics import MARGIN, curves, losses
from cllora.seeds import rng
from cllora.spec import Experiment, PartitionSpec
from cllora.studies.cllora_paper.skew import skew_of
from cllora.types.environment import DataRecord, Environment, MessageSizes
from support.reports import drawn, section
from support.synthetic import make_partition, make_study, write_study

ROUNDS, CLIENTS = 8, 6
SIZES = np.array([5, 5, 5, 5, 20, 80])
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
    made = make_partition(make_study(clients=CLIENTS).cells()[0].experiment)
    classes = made.heterogeneity.classes
    described = tuple(replace(one, share_cut=cut) for one in classes.described)
    measured = replace(made.heterogeneity, classes=replace(classes, described=described))
    return replace(made, train_offsets=np.concatenate([[0], np.cumsum(SIZES)]), measured=measured)


def run(
    seed: int,
    asked: Mapping[str, Any],
    *,
    final: float = 3.0,
    swing: float = 0.0,
    local: float = -0.2,
    much: float = -0.05,
    little: float = -0.05,
    spread: float = 0.02,
    texts: Sequence[int] = (4,) * CLIENTS,
    saved: float = 0.9995,
    size: float = 1.3e8,
    cut: float = 0.0,
    **more: Any,
) -> Run:
    """A run whose numbers are as given: `much` and `little` are the rises of the clients of that kind."""
    loss = np.array([3.5, *(3.0 + swing * (-1) ** t for t in range(ROUNDS))])
    curve = pd.DataFrame({"round": range(ROUNDS + 1), "loss": loss})
    rows = [
        (t, k, loss[t - 1] + (much if SIZES[k] > SIZES.mean() else little), local + 3.5, local)
        for t in range(1, ROUNDS + 1)
        for k in range(CLIENTS)
    ]
    gaps = pd.DataFrame(rows, columns=["round", "client", "test_local", "own_local", "own_change"])
    change = -0.3 + spread * np.array([-1, 1] * (CLIENTS // 2))
    ends = {"round": ROUNDS, "client": range(CLIENTS), "change": change, "loss": 3.5 + change, "base": 3.5}
    clients = pd.DataFrame(ends).assign(ratio=lambda x: x["loss"] / x["base"], samples=list(texts), tokens=10)
    tables = losses.Tables(curve=curve, classes=curve, clients=clients, gaps=gaps, personal=clients.iloc[:0])
    cell = ", ".join(f"{name} = {value}" for name, value in {**asked, **more}.items() if name != "scheme")
    return Run(
        folder=Path(),
        labels={"cell": cell},
        experiment=experiment(seed, tuple(asked.items()), tuple((k.replace("_", ".", 1), v) for k, v in more.items())),
        partition=dealt(cut),
        rounds=[{"round": t, "clients": []} for t in range(ROUNDS + 1)],
        tables=tables,
        environment=environment(size),
        outcome={"final_loss": final, "local_change": local, "oscillation": curves.oscillation(curve), "saved": saved},
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


def sizes(small: float, large: float, noise: Sequence[float] = NOISE) -> list[Run]:
    """Two models, to whose final loss length skew adds so much."""
    models = [("s", 1e8, 5, small), ("l", 1e9, 1, large)]
    return [
        case
        for name, size, epochs, effect in models
        for case in study(
            LENGTH, lambda x, effect=effect: {"final": 3 + effect + x}, noise, size=size, model_name=name,
            local_epochs=epochs,
        )
    ]  # fmt: skip


def contexts(short: float, long: float, noise: Sequence[float] = NOISE, cut: float = 0.01, **more: Any) -> list[Run]:
    """Two contexts, at which length skew adds so much to the final loss; the shorter cuts a third of the texts."""
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


def swings(size: float) -> Callable[[float], dict[str, Any]]:
    return lambda x: {"swing": max(0.0, size + x)}


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
    ("c", "supported", lambda: study(LENGTH, swings(0.1))),
    ("c", "contradicted", lambda: study(LENGTH, swings(0.0))),
    ("c", "contradicted", lambda: study(LENGTH, swings(0.01), swing=0.1)),
    ("c", "undecided", lambda: study(LENGTH, swings(0.1), WIDE)),
    ("c", "not tested", lambda: study(QUANTITY, swings(0.1))),
    ("d", "supported", lambda: sizes(0.1, 0.02)),
    ("d", "supported", lambda: sizes(0.02, -0.1)),
    ("d", "contradicted", lambda: sizes(0.02, 0.1)),
    ("d", "contradicted", lambda: sizes(0.1, 0.1)),
    ("d", "undecided", lambda: [*sizes(0.1, 0.02, WIDE)[:10], *sizes(0.1, 0.02)[10:]]),
    ("d", "not tested", lambda: sizes(0.1, 0.02)[:10]),
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
    ("g", "undecided", lambda: study(QUANTITY, spreads(0.1), WIDE)),
    ("g", "not tested", lambda: study(LENGTH, spreads(0.1))),
    ("h", "supported", lambda: study(LENGTH, final(0.0))),
    ("h", "contradicted", lambda: study(LENGTH, final(0.0), saved=0.998, size=4.7e6)),
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
]


class MadeUp(Results):
    """The results of runs that are called as their labels say."""

    def cell(self, labels: Mapping[str, str]) -> str:
        return labels["cell"]


def results(runs: Sequence[Run]) -> Results:
    return MadeUp("made up", {}, {}, runs)


def of(letter: str, cases: Sequence[Run]) -> Verdict:
    return claims.verdict(f"paper/{letter}", results(cases))


@pytest.mark.parametrize(("letter", "verdict", "make"), STUDIES)
def test_every_claim_gets_the_verdict_that_the_study_shows(
    letter: str, verdict: str, make: Callable[[], list[Run]]
) -> None:
    found = of(letter, make())
    assert found.kind == verdict
    assert "nan" not in found.why
    if verdict == "not tested":
        assert f"run `cllora run {'ablate/context' if letter == 'i' else 'paper/'}" in found.why
        assert not found.cells
        return
    assert found.cells
    if letter != "h":
        assert found.low <= found.effect <= found.high
        assert found.seeds == 5
    if verdict == "undecided":
        assert "seeds needed" in found.why
        assert any(part.kind == "undecided" for part in found.comparisons)


@pytest.mark.parametrize("letter", "abcdefgi")
def test_one_seed_is_never_enough(letter: str) -> None:
    strong = next(make for known, verdict, make in STUDIES if (known, verdict) == (letter, "supported"))
    found = of(letter, [case for case in strong() if case.experiment.seed == 0])
    assert found.kind == "undecided"
    assert "one seed shows no spread" in found.why
    assert math.isnan(found.low)


def unfinished(case: Run) -> Run:
    """The run before its last round."""
    return replace(case, tables=replace(case.tables, curve=case.tables.curve.iloc[:-1]))


@pytest.mark.parametrize("letter", "abcdefgi")
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
    assert labels == list("abcdefghi")


def test_a_claim_must_hold_in_every_setting() -> None:
    at = {context: study(LENGTH, final(0.05), model_context=context) for context in (64, 128)}
    none = study(LENGTH, final(0.0), model_context=256)
    whole = of("b", [*at[64], *at[128]])
    assert (whole.kind, len(whole.comparisons)) == ("supported", 2)
    assert whole.low < of("b", at[64]).low  # both at once
    mixed = of("b", [*at[64], *none])
    assert mixed.kind == "contradicted"
    assert "model_context = 256: smaller than 0.01; it holds for" in mixed.why
    assert "it holds for" in mixed.why


def test_what_was_not_measured_leaves_undecided_what_the_rest_supports() -> None:
    found = of("e", study(QUANTITY, lambda x: {"final": 3.05 + x, "local": math.nan}))
    assert (found.kind, found.why) == ("undecided", "not measured: local")
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
    small = study(LENGTH, swings(0.1), size=1e8, model_name="s")
    large = study(LENGTH, swings(0.0), size=1e9, model_name="l")
    assert of("c", [*large, *small]).kind == "supported"
    assert of("c", [replace(case, environment=environment(None)) for case in [*large, *small]]).kind == "not tested"


def test_few_test_texts_alone_are_no_unfairness() -> None:
    few = study(QUANTITY, lambda x: {"spread": 0.04 + x, "texts": (1,) * CLIENTS})  # 4 texts in the control: sd 0.02
    assert of("g", few).kind == "contradicted"
    assert of("g", few).effect == pytest.approx(0, abs=0.001)


def test_what_is_said_of_models_that_differ_in_epochs_and_of_small_bases() -> None:
    assert "the models differ in local epochs too" in of("d", sizes(0.1, 0.02)).why
    assert "at this base's size: 4.7 million parameters" in of("h", study(LENGTH, final(0), saved=0.99, size=4.7e6)).why


def test_without_cutting_the_effect_is_judged_and_its_change_is_told() -> None:
    """By seed, what skew adds where next to nothing is cut minus where a third is."""
    found = of("i", contexts(0.02, 0.05, NOISE[::-1]))
    decides, change = found.comparisons
    assert decides.difference == found.effect == pytest.approx(0.05, abs=1e-9)
    assert "model_context = 2048" in decides.name
    assert change.name.endswith("against overlap = True, alpha = 0.1, model_context = 128")
    assert change.difference == pytest.approx(0.03, abs=1e-9)
    assert change.low < change.difference < change.high
    assert f"{change.name}: another effect; texts cut: 35.0 % at 128, 1.0 % at 2048" in found.why
    assert "the same effect within 0.01" in of("i", contexts(0.05, 0.05)).why
    assert "seeds needed; texts cut" in of("i", contexts(0.05, 0.05, WIDE)).why
    still = of("i", contexts(0.05, 0.05, cut=0.1)).why
    assert "no context that cuts at most 5 % (texts cut: 35.0 % at 128, 10.0 % at 2048)" in still


def test_every_attention_is_held_to_its_own_longest_context() -> None:
    both = [*contexts(0.05, 0.05), *contexts(0.05, 0.0, model_attention="s2")]
    found = of("i", both)
    assert (found.kind, len(found.comparisons)) == ("contradicted", 4)
    assert found.comparisons[0].low < of("i", contexts(0.05, 0.05)).low  # both at once
    stretched = [case for case in contexts(0.05, 0.05) if case.experiment.model.context == 128]
    stretched += study(LENGTH, final(0.05), model_context=4096, model_positions="linear")
    assert of("i", stretched).kind == "supported"


def test_what_a_context_cuts_is_asked_of_each_setting() -> None:
    """Two tokenizers make more and fewer tokens of the same texts."""
    many = contexts(0.05, 0.0, cut=0.1, model_name="many")
    for cases in ([*contexts(0.05, 0.05), *many], [*many, *contexts(0.05, 0.05)]):
        found = of("i", cases)
        assert (found.kind, len(found.comparisons)) == ("supported", 2)
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


def simulated(effect: float, spread: float, many: int, rule: Rule, studies: int = 2_000) -> list[str]:
    """Verdicts on a claim of so many comparisons over five seeds each, whose true differences are known."""
    draws = rng(0, "verdicts", str(effect), many).normal(effect, spread, (studies, many, 5))
    of = (draws.mean(axis=2), draws.std(axis=2, ddof=1), 5)
    ends = np.stack(stats.t_interval(*of, 1 - 0.05 / many), axis=-1)
    return [over_all([decide(low, high, MARGIN, rule) for low, high in each]) for each in ends]


def share(found: Sequence[str], verdict: str) -> float:
    """How often, less four standard errors of five percent."""
    return float(np.mean([each == verdict for each in found])) - 4 * math.sqrt(0.05 * 0.95 / len(found))


@pytest.mark.parametrize("rule", ["touches", "raises", "lowers"])
@pytest.mark.parametrize("many", [1, 2, 4])
def test_without_an_effect_a_direction_is_claimed_in_at_most_5_percent(rule: Rule, many: int) -> None:
    found = simulated(0.0, 0.05, many, rule)
    assert share(found, "supported") <= 0.05
    assert share(found, "contradicted") <= 0.05


@pytest.mark.parametrize("rule", ["touches", "raises", "lowers"])
@pytest.mark.parametrize("spread", [0.002, 0.005, 0.02])
def test_an_effect_as_large_as_the_margin_is_denied_in_at_most_5_percent(rule: Rule, spread: float) -> None:
    effect = -MARGIN if rule == "lowers" else MARGIN
    assert share(simulated(effect, spread, 1, rule), "contradicted") <= 0.05


@pytest.mark.parametrize("spread", [0.002, 0.005, 0.02])
def test_hardly_any_effect_is_claimed_or_denied_wrongly_in_at_most_5_percent(spread: float) -> None:
    for many in (1, 4):
        found = simulated(MARGIN, spread, many, "barely")  # as large as can be called none, or is none
        assert share(found, "supported") <= 0.05
        assert share(found, "contradicted") <= 0.05


def test_chance_alone_is_no_unfairness_in_simulated_federations() -> None:
    """Clients that are all alike, tested on few texts (one to twenty) or on four each."""
    studies, few = 400, np.repeat([1, 2, 5, 20], [10, 5, 3, 2])
    draw = rng(0, "fair")
    skewed, even = draw.normal(0, 1, (2, studies, 20)) * 0.1 / np.sqrt([few, np.full(20, 4)])[:, None, :]
    excess = skewed.std(axis=1) - even.std(axis=1) * math.sqrt((1 / few).mean() / 0.25)
    assert abs(excess.mean()) < 0.005  # half of the margin


def test_the_report_has_a_row_for_every_tested_claim(tmp_path: Path) -> None:
    runs = read_runs(write_study(tmp_path, make_study(num_seeds=3, rounds=5)))
    figure = drawn("verdicts", runs)
    assert figure.shown is not None
    assert [claim[:3] for claim in figure.shown["claim"]] == ["(a)", "(b)", "(c)", "(h)"]
    assert figure.shown["verdict"].str.contains("✔ supported|✘ contradicted|\\? undecided").all()
    assert set(figure.table["claim"]) == {"a", "b", "c", "h"}
    assert figure.title == "The paper's claims"
    about, untested = figure.notes
    assert about.startswith("The claims of the paper that this study tests, and the question (i)")
    assert all(letter in untested for letter in ("(d)", "(e)", "(f)", "(g)", "(i)"))
    assert "`cllora run paper/quantity`" in untested


def test_a_study_that_tests_no_claim_has_no_such_section(tmp_path: Path) -> None:
    study = make_study(grid={"lora.r": [4, 8]}, control={})
    assert not section("verdicts", read_runs(write_study(tmp_path, study))).asked
