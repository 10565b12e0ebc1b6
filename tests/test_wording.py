"""The report's wording, in one file: tests of the report assert facts, and what a fact reads like is looked up here.

Where wording is changed on purpose, `CLLORA_RENEW=1 python -m pytest tests/test_wording.py` writes the file anew; its
difference is then read like any other change.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cllora.analysis import Results
from cllora.analysis import results as read_runs
from cllora.reports import effect, say
from cllora.reports.answer import answer
from cllora.reports.section import in_order
from support.reports import section, with_losses
from support.synthetic import make_study, write_study

WORDING = Path(__file__).parent / "snapshots" / "wording.txt"
LOSSES = {
    "clear": {"0.1": (3.2, 3.21, 3.19), "1": (3.1, 3.3, 3.0), "iid": (3.0, 3.0, 3.0)},
    "clear, lower": {"0.1": (2.8, 2.81, 2.79), "1": (), "iid": (3.0, 3.0, 3.0)},
    "clear and tiny": {"0.1": (3.00011, 3.00012, 3.00011), "1": (), "iid": (3.0, 3.0, 3.0)},
    "clear alone, not among all": {"0.1": (3.067, 3.1, 3.133), "1": (3.0, 3.01, 2.99), "iid": (3.0, 3.0, 3.0)},
    "equal means": {"0.1": (2.0, 3.0, 4.0), "1": (), "iid": (3.0, 3.0, 3.0)},
    "the same in every pair": {"0.1": (3.0, 3.1, 3.2), "1": (), "iid": (3.0, 3.1, 3.2)},
    "one seed": {"0.1": (3.2,), "1": (), "iid": (3.0,)},
    "two seeds": {"0.1": (3.0, 3.1), "1": (), "iid": (3.0, 3.0)},
    "no pair": {"0.1": (), "1": (3.1,), "iid": (3.0,)},
    "one of three seeds paired": {"0.1": (3.2, 3.21, 3.19), "1": (3.1,), "iid": (3.0, 3.0, 3.0)},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_runs(write_study(tmp_path_factory.mktemp("runs") / "study", make_study((0.1, 1, "iid"), num_seeds=3)))


def sentences(runs: Results) -> Iterator[tuple[str, str]]:
    """What is said, each after what it is said of."""
    for case, losses in LOSSES.items():
        seen = with_losses(runs, losses)
        headline = answer(seen).headline
        yield f"final loss, {case}", say(effect(seen, "late_loss"))
        yield f"in short, {case}", say(headline) if headline else ""
    one = replace(runs, members=[run for run in runs.members if run.seed == 0 and run.labels["alpha"] != "1"])
    for kind, some in {"three seeds": runs, "one seed": one, "no control": replace(runs, control={})}.items():
        for name in in_order():
            made = section(name, some)
            for text in (*(say(fact) for fact in made.facts), *(note for note in made.notes if note)):
                yield f"{name}, {kind}", text
        for fact in answer(some).section.facts:
            yield f"first screen, {kind}", say(fact)
        for number, what in answer(some).numbers:
            yield f"first screen, {kind}", f"{number} {what}"


def test_the_wording_is_that_of_the_file(runs: Results) -> None:
    first = {said: where for where, said in reversed([*sentences(runs)])}  # what is said twice is there once
    text = "".join(f"[{where}]\n{said}\n\n" for said, where in reversed(first.items()))
    if os.environ.get("CLLORA_RENEW"):
        WORDING.parent.mkdir(exist_ok=True)
        WORDING.write_text(text, encoding="utf-8")
    assert text == WORDING.read_text(encoding="utf-8"), "CLLORA_RENEW=1 writes the file anew, see above"
