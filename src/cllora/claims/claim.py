"""Claims: each names its metrics, its contrast and its rule, and is judged by the runs of any study that has them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cllora.analysis import Results
from cllora.claims.contrasts import Contrast, Evidence, Measured
from cllora.errors import UsageError
from cllora.metrics import NATS, Unit, metrics
from cllora.registry import Registry, guess

Rule = Literal["barely", "touches", "raises", "lowers", "at least"]
"""The rule of a claim on a contrast; see `decide`."""


@dataclass(frozen=True)
class Source:
    """The source of claims: a paper, or a user.

    title: the heading of claims that are all of this source.
    counted: all of them, behind `of`: "the paper's 8 claims and the question that it leaves open".
    note: what the report says of how they are judged.
    """

    title: str
    counted: str
    note: str = ""


@dataclass(frozen=True)
class ClaimFacts:
    """The facts that a claim states of itself.

    title: the claim as a sentence, without its full stop.
    metrics: what it is about: one metric, or several by what they are called; the claim must hold in each. A metric is
        a registered one's name, or a function of a run (or of a run and its control) that is this claim's alone.
    rule: what is claimed of each contrast, see `decide`.
    margin: differences smaller than this count as none (of the rule `at least`, the bound); by default that of the
        unit, or of losses the study's share of what training gains in the control.
    unit: of the metrics; by default that of the registered ones, else nats per token.
    computed: what the contrasts are of, in words; by default the metrics' titles.
    label: what it is called in sentences and tables; by default its name.
    source: whose claim it is; None: yours.
    run: a study that tests it, as `cllora run` takes it.
    """

    title: str
    metrics: Measured | Mapping[str, Measured]
    rule: Rule
    margin: float | None = None
    unit: Unit | None = None
    computed: str = ""
    label: str = ""
    source: Source | None = None
    run: str = ""


ContrastOf = Callable[[Results], Sequence[Contrast] | Evidence]

claims: Registry[ContrastOf, ClaimFacts] = Registry("claim", ClaimFacts)
"""`@claims.register(title=..., metrics="final_loss", rule="raises") def name(results: Results) -> list[Contrast]`."""


@dataclass(frozen=True)
class Claim:
    """A registered claim with all that it states, its defaults filled in.

    margin: NaN where none is known; None where it is a share of what training gains in the control.
    """

    name: str
    title: str
    metrics: Mapping[str, Measured]
    rule: Rule
    margin: float | None
    unit: Unit
    computed: str
    label: str
    source: Source | None
    run: str
    contrast: ContrastOf

    def evidence(self, results: Results) -> Evidence:
        """The contrasts that a study has for the claim.

        Raises:
            UsageError: its function failed.
        """
        try:
            made = self.contrast(results)
        except Exception as error:
            raise UsageError(f"claim '{self.name}' failed: {type(error).__name__}: {error}") from error
        return made if isinstance(made, Evidence) else Evidence(made)


def claim(name: str) -> Claim:
    """A claim by its name.

    Raises:
        UsageError: there is none; its rule or a metric does not exist; or the rule needs a margin and there is none.
    """
    facts = claims.facts(name)
    measured = facts.metrics if isinstance(facts.metrics, Mapping) else {"": facts.metrics}
    registered = [metrics.metric(name) for name in measured.values() if isinstance(name, str)]
    unit = facts.unit or next((metric.unit for metric in registered), NATS)
    margin = facts.margin if facts.margin is not None else unit.margin
    if margin is None and not (unit.of_gain and facts.rule != "at least") and facts.rule in ("barely", "at least"):
        raise UsageError(f"claim '{name}' needs a margin for its rule '{facts.rule}': register(margin=...)")
    if facts.rule not in get_args(Rule):
        raise UsageError(f"claim '{name}' has no rule '{facts.rule}'; {guess(facts.rule, get_args(Rule))}")
    titles = [metric.title for metric in registered]
    return Claim(
        name=name,
        title=facts.title,
        metrics=measured,
        rule=facts.rule,
        margin=math.nan if margin is None and not unit.of_gain else margin,
        unit=unit,
        computed=facts.computed or "; ".join(dict.fromkeys(titles)) or claims.help(name),
        label=facts.label or name,
        source=facts.source,
        run=facts.run,
        contrast=claims.get(name),
    )
