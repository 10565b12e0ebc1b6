"""The section on methods: definitions, and the environment of the runs."""

import re

import pandas as pd

from cllora.analysis import Results, environment
from cllora.errors import counted
from cllora.metrics import metrics
from cllora.metrics.formats import level, listed, percent
from cllora.reports.columns import column
from cllora.reports.facts import Fact, Statement
from cllora.reports.section import Section, sections
from cllora.spec import PRIMARY
from cllora.stats import BY_RANKS

DEFINITIONS = {
    "loss per token": "negative log-likelihood of all texts over all their predicted tokens, in nats; exp of it is the "
    "perplexity",
    "base": "the untrained model on the same texts: round 0, where the adapter changes nothing",
    "difference": "cell minus control, paired by seed: from {pairs} pairs on the typical one (Hodges, Lehmann) "
    "with the interval of Wilcoxon's signed ranks, of fewer the mean with Student's t interval; {level}, in tables for "
    "each comparison by itself, in sentences at the level at which Holm's procedure decides among all N that it chose "
    "from",
    "differs, clear": "p of the test of no difference at most {error} after Holm's correction over all N comparisons",
    "equivalent within m": "two one-sided tests find the difference smaller than the margin m at {error} after Holm's "
    "correction",
    "seeds needed": "to find a difference as large as m, or to show equivalence where there is none, with 80 % power: "
    "at the spread of differences that was observed, and at its upper 80 % limit, as few seeds know their spread badly",
    "means": "over the finished runs of a cell; where none is finished, over all that it has",
}
STARTED = {
    "base": "the model before training on the same texts, round 0: the base with the adapter of lora.start where one "
    "is named"
}
"""Takes the place of `base` there."""


@sections.register(title="Methods and environment", after="signatures")
def methods(results: Results) -> Section:
    """The meaning of the words, and the machine, the versions and the data that the numbers come from."""
    shown = [m for m in metrics.every() if "table" in m.places or "forest" in m.places]
    defined = {metric.title: _titled(metrics.help(metric.name)) for metric in shown}
    margin = f"of losses {percent(results.margin)} of what training gained in the control, mean over pairs"
    numbers = {"pairs": BY_RANKS, "level": level(results.level), "error": level(1 - results.level)}
    definitions = {term: text.format(**numbers) for term, text in DEFINITIONS.items()}
    words = {**definitions, "margin m": margin, **(STARTED if results.has_start else {}), **defined}
    meanings = pd.DataFrame(words.items(), columns=["what", "value"])
    return Section(
        facts=(_strength(results),),
        table=pd.concat([meanings, environment(results)], ignore_index=True),
    )


def _titled(text: str) -> str:
    """A metric's help with other metrics by their titles."""
    return re.sub(r"`(\w+)`", lambda name: f"the {column(name[1]).title}", text).removesuffix(".")


def _strength(results: Results) -> Fact:
    """The number of pairs of each comparison, and what its interval therefore covers."""
    if len(results.seeds) == 1:
        text = "One seed: no interval is given, and a second seed may turn a difference round."
        return Statement(text, {"seeds": 1})
    pairs = results.contrasts(PRIMARY)["seeds"]
    if pairs.empty:
        fewest = int(results.averaged.groupby("cell")["seed"].nunique().min())
        text = f"Every cell has at least {counted(fewest, 'seed')}, which differ in {_redrawn(results)}."
        return Statement(text, {"seeds": fewest})
    text = (
        f"Every comparison has at least {counted(int(pairs.min()), 'pair')} of runs of equal seed; its interval "
        f"covers what a seed draws anew ({_redrawn(results)}), not another model or other data."
    )
    return Statement(text, {"pairs": int(pairs.min())})


def _redrawn(results: Results) -> str:
    named = all(isinstance(run.experiment.data.test, str) for run in results.members)
    split = [] if named else ["the split into training and global test texts"]
    return listed([*split, "the partition", "the clients chosen", "the order of their texts", "the adapter's start"])
