"""Variance components: they come to those of which differences were made."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.support.synthetic import make_study, write_study

import cllora
from cllora.analysis import Results, Run, Spread, variance
from cllora.reports.say import say
from cllora.reports.section import made as section
from cllora.stats import Components, Differences, components

TEXTS, ROUNDS = 40, 4
CLASSES = np.arange(3000) % 5


def made(rng: np.random.Generator, seed: float, rounds: float, text: float, both: float, trend: float) -> Differences:
    """One seed's differences: each part normal, with the deviation that is given."""
    tokens = rng.integers(20, 128, TEXTS).astype(float)
    per_token = (
        seed * rng.normal()
        + rounds * rng.normal(size=(ROUNDS, 1))
        + trend * np.arange(ROUNDS)[:, None]
        + text * rng.normal(size=TEXTS)
        + both * rng.normal(size=(ROUNDS, TEXTS))
    )
    return Differences(per_token * tokens, tokens)


@pytest.mark.parametrize(
    "parts",
    [
        {"seed": 1.0, "rounds": 2.0, "text": 5.0, "both": 0.0, "trend": 0.0},
        {"seed": 0.0, "rounds": 0.0, "text": 5.0, "both": 5.0, "trend": 0.0},
        {"seed": 1.0, "rounds": 0.0, "text": 0.0, "both": 9.0, "trend": 0.0},
        {"seed": 0.5, "rounds": 2.0, "text": 1.0, "both": 1.0, "trend": 0.3},
    ],
    ids=["each", "texts alone", "no rounds", "a trend"],
)
def test_components_are_those_of_which_differences_were_made(parts: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    seeds = [made(rng, **parts) for _ in range(3000)]
    share = np.mean([(seed.tokens**2).sum() / seed.tokens.sum() ** 2 for seed in seeds])  # 1 / n for texts of a length
    texts = share * (parts["text"] ** 2 + parts["both"] ** 2 / ROUNDS)
    rounds = parts["rounds"] ** 2 / ROUNDS
    found = components(seeds)
    assert found.texts == pytest.approx(texts, rel=0.05)
    assert found.rounds == pytest.approx(rounds + parts["trend"] ** 2 / 2 / ROUNDS, rel=0.1, abs=0.02)
    assert found.rest == pytest.approx(parts["seed"] ** 2, rel=0.15, abs=0.06)
    assert found.total == pytest.approx(np.var([seed.mean for seed in seeds], ddof=1))
    assert sum(found.shares) == pytest.approx(1)


def test_what_texts_bring_is_what_drawing_others_would_change() -> None:
    """The linearised variance against the bootstrap over texts."""
    rng = np.random.default_rng(1)
    one = made(rng, 1.0, 1.0, 5.0, 2.0, 0.0)
    drawn = [rng.integers(0, TEXTS, TEXTS) for _ in range(4000)]
    redrawn = [Differences(one.nll[:, rows], one.tokens[rows]).mean for rows in drawn]
    assert one.of_texts == pytest.approx(np.var(redrawn), rel=0.1)


def test_one_round_has_no_part_of_its_own_and_one_seed_no_variance() -> None:
    rng = np.random.default_rng(2)
    seeds = [made(rng, 1.0, 1.0, 1.0, 1.0, 0.0) for _ in range(5)]
    last = [Differences(seed.nll[-1:], seed.tokens) for seed in seeds]
    assert components(last).rounds == 0
    assert components(last).rest > 0
    with pytest.raises(ValueError, match="1 seeds have no variance"):
        components(last[:1])
    assert np.isnan(Components(0.0, 0.0, 0.0, 0.0).shares).all()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three seeds of three cells, and what they lost on test texts of their own made up of known parts."""
    study = make_study((0.1, 100, "iid"), num_seeds=3, rounds=2 * ROUNDS)
    return cllora.results(write_study(tmp_path_factory.mktemp("runs"), study))


def with_texts(run: Run, differences: Differences, own_texts: bool = True) -> Run:
    """The run, having lost so much more in its late rounds than nothing, on texts of its seed alone, or of all."""
    samples = np.arange(TEXTS) + (1000 * run.seed if own_texts else 0)
    late = np.repeat(np.arange(ROUNDS + 1, 2 * ROUNDS + 1), TEXTS)
    early = pd.DataFrame({"round": 0, "sample": samples, "nll": 9.0, "tokens": 1})
    rows = {"round": late, "sample": np.tile(samples, ROUNDS), "nll": differences.nll.ravel()}
    texts = pd.DataFrame({**rows, "tokens": np.tile(differences.tokens, ROUNDS)})
    tables = replace(run.tables, texts=pd.concat([texts.iloc[::-1], early]))
    return replace(run, tables=tables, partition=replace(run.partition, global_test=samples, class_of=CLASSES))


@pytest.mark.parametrize("own_texts", [True, False])
def test_a_studys_spread_is_that_of_its_losses(results: Results, own_texts: bool) -> None:
    rng = np.random.default_rng(3)
    seeds = [made(rng, 1.0, 2.0, 5.0, 1.0, 0.0) for _ in range(3)]
    nothing = [Differences(np.zeros_like(seed.nll), seed.tokens) for seed in seeds]
    members = [
        with_texts(run, (seeds if run.labels["alpha"] == "0.1" else nothing)[run.seed], own_texts)
        for run in results.members
    ]
    skewed, even = variance(replace(results, members=members))
    expected = components(seeds, same_texts=not own_texts)
    assert (skewed.cell, skewed.control, skewed.seeds) == ("alpha = 0.1", "alpha = iid", 3)
    assert (skewed.sd, skewed.texts, skewed.rounds, skewed.rest) == pytest.approx(
        (expected.total**0.5, *expected.shares)
    )
    assert (skewed.texts > 0, skewed.same_texts) == (own_texts, not own_texts)
    assert (skewed.test_texts, skewed.late_rounds) == (TEXTS, ROUNDS)
    assert skewed.evaluation == pytest.approx(1 - 2.5 / 3.5 * 8 / 9, abs=0.01)  # two clients of 1.25 s in rounds of 3.5
    assert (even.cell, even.sd) == ("alpha = 100", 0.0)


def test_runs_that_are_evaluated_in_other_rounds_have_no_differences_by_text(results: Results) -> None:
    """`evaluation.every` may be an axis, and so may the number of rounds."""
    fewer = [
        replace(run, tables=replace(run.tables, curve=run.tables.curve.iloc[[0, -1]]))
        if run.labels["alpha"] == "0.1"
        else run
        for run in results.members
    ]
    (even,) = variance(replace(results, members=fewer))
    assert even.cell == "alpha = 100"


def test_what_takes_more_variance_for_its_time_is_the_better_buy() -> None:
    spread = Spread("a", "b", 8, 0.01, 0.6, 0.3, 0.1, 85, 3, same_texts=False, evaluation=0.2, every_round=False)
    assert spread.prices == pytest.approx({"seeds": 1.0, "test texts": 0.7 * 1.2, "evaluated rounds": 0.85 * 1.2})
    assert "evaluated rounds" not in replace(spread, every_round=True).prices


def test_the_report_says_where_the_doubt_comes_from(results: Results) -> None:
    made_of_it = section("doubt", results)
    assert [say(fact) for fact in made_of_it.facts][1].startswith("To know it better, seeds are the best buy")
    assert made_of_it.notes == ("All seeds have the same test texts: no interval knows that other texts may differ.",)
    assert len(made_of_it.numbers) == 2
    one = replace(results, members=[run for run in results.members if run.seed == 0])
    assert "two seeds" in say(section("doubt", one).facts[0])
