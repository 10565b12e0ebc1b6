"""What is compared, in which runs, for each claim of the paper and for one question that it leaves open.

Claims are of the strongest skew that a study has, and are held to every setting (model, context, rank, ...) in which it
has it. The rules, with their formulas and margins, stand in docs/method.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cllora.measure.claims import SAVED, UNCUT, A, B, C, D, E, F, G, H
from cllora.measure.judging import Found, Verdict, judged, untested
from cllora.measure.skew import LENGTH, QUANTITY, Case, Setting, setting_key, settings_of
from cllora.metrics.signatures import early_overfitting, fairness_collapse, global_oscillation, turns

PAPER_RANK = 2
SMALLEST_OF_PAPER = 125_239_296
"""Parameters of OPT-125M, the smallest model of the paper."""
FEW_CUT = 0.05
"""The share of texts that a context may cut and still pass for one that cuts none."""

OfPair = Callable[[Case, Case], float]
"""A number of a skewed run and its control."""


def verdicts(cases: Sequence[Case]) -> list[Verdict]:
    """The verdict on every claim, (a) to (h), and on the question (i), from all runs of a study."""
    return [claim(cases) for claim in CLAIMS]


def claim_a(cases: Sequence[Case]) -> Verdict:
    """Length skew barely touches local training: `local_by_token`, equivalent within the margin."""
    settings = settings_of(cases, LENGTH, _strong)
    return judged(A, _found(settings, {"": lambda skewed, control: local_by_token(skewed) - local_by_token(control)}))


def claim_b(cases: Sequence[Case]) -> Verdict:
    """Length skew does touch the global model: the final global loss differs, either way, and not within the margin."""
    return judged(B, _found(settings_of(cases, LENGTH, _strong), {"": _change_of("final_loss")}))


def claim_c(cases: Sequence[Case]) -> Verdict:
    """At alpha 0.1 (or lower) the smallest model's oscillation is higher than its control's."""
    settings = settings_of(cases, LENGTH, lambda alpha: alpha <= 0.1)
    sizes = {setting.case.experiment.model.name: setting.case.parameters for setting in settings}
    if len(sizes) > 1:
        smallest = min(sizes, key=lambda name: sizes[name])
        settings = [] if _unknown(sizes) else [s for s in settings if s.case.experiment.model.name == smallest]
    marked = _marked(settings, lambda case: len(global_oscillation(case.tables.curve)) > 0)
    return judged(C, _found(settings, {"": _change_of("oscillation")}), f"swings marked in {marked}")


def claim_d(cases: Sequence[Case]) -> Verdict:
    """The effect of length skew on the final global loss is lower at the largest model than at the smallest."""
    settings = settings_of(cases, LENGTH, _strong)
    sizes = {setting.case.experiment.model.name: setting.case.parameters for setting in settings}
    if not sizes:
        return untested(D)
    if _unknown(sizes):
        return untested(D, "one model only" if len(sizes) == 1 else "models of unknown or equal size")
    small, large = (pick(sizes, key=lambda name: sizes[name]) for pick in (min, max))
    kin: dict[str, dict[str, Setting]] = {}
    for setting in settings:
        key = setting_key(setting.case.experiment, "model.name", "local.epochs")
        kin.setdefault(key, {})[setting.case.experiment.model.name] = setting
    both = [(of[small], of[large]) for of in kin.values() if small in of and large in of]
    found = [_difference_of_effects(*each) for each in both]
    apart = any(s.case.experiment.local.epochs != g.case.experiment.local.epochs for s, g in both)
    return judged(D, found, "the models differ in local epochs too" if apart else "")


def claim_e(cases: Sequence[Case]) -> Verdict:
    """Quantity skew raises both the local and the final global loss."""
    values = {"local": _change_of("local_change"), "global": _change_of("final_loss")}
    return judged(E, _found(settings_of(cases, QUANTITY, _strong), values))


def claim_f(cases: Sequence[Case]) -> Verdict:
    """Local training raises the test loss of clients with much data early on; clients with little gain less from it
    than the same clients in the same rounds of the control. A run is one number, however many turns it has."""
    settings = settings_of(cases, QUANTITY, _strong)
    found = _found(settings, {"much data": overfits_early, "little data": under_learns})
    much, little = (sum(_overfitted(pair[0], m) for s in settings for pair in s.pairs) for m in (True, False))
    remark = f"early over-fitting by rule: {much} clients with much data, {little} with little"
    return judged(F, found, remark)


def claim_g(cases: Sequence[Case]) -> Verdict:
    """Below alpha 1 of quantity, clients' changes against the base vary more than few test texts explain."""
    settings = settings_of(cases, QUANTITY, lambda alpha: alpha < 1)
    marked = _marked(settings, lambda case: len(fairness_collapse(case.tables.clients)) > 0)
    return judged(G, _found(settings, {"": excess_spread}), f"collapse marked in {marked}")


def claim_h(cases: Sequence[Case]) -> Verdict:
    """One minus bytes sent over bytes of the whole base as often, at the paper's rank: no seeds, no interval."""
    known = [c for c in cases if c.experiment.lora.r == PAPER_RANK and not math.isnan(c.outcome["saved"])]
    if not known:
        return untested(H, f"nothing was sent at rank {PAPER_RANK}")
    models: dict[str, list[Case]] = {}
    for case in known:
        models.setdefault(case.experiment.model.name, []).append(case)
    found = [
        Found(model, [case.outcome["saved"] for case in of], tuple(dict.fromkeys(case.cell for case in of)))
        for model, of in models.items()
    ]
    smaller = [c.parameters for c in known if c.parameters < SMALLEST_OF_PAPER and c.outcome["saved"] < SAVED]
    remark = (
        f"at this base's size: {min(smaller) / 1e6:.1f} million parameters, the paper's smallest has 125 million"
        if smaller
        else ""
    )
    return judged(H, found, remark)


def claim_i(cases: Sequence[Case]) -> Verdict:
    """Length skew touches the global model at the longest of several contexts, if that cuts next to no text; beside
    it, how much its effect there differs from that at the shortest."""
    kin: dict[str, list[Setting]] = {}
    for setting in settings_of(cases, LENGTH, _strong):
        kin.setdefault(setting_key(setting.case.experiment, "model.context", "model.positions"), []).append(setting)
    ends = [(min(each, key=_context), max(each, key=_context)) for each in kin.values() if len(each) > 1]
    ordered = [setting for each in kin.values() for setting in sorted(each, key=_context)]
    cut = dict.fromkeys(f"{100 * share_cut(setting.case):.1f} % at {_context(setting)}" for setting in ordered)
    said = f"texts cut: {', '.join(cut)}"
    whole = [(short, long) for short, long in ends if share_cut(long.case) <= FEW_CUT]
    if not whole:
        lacking = f"no context that cuts at most {100 * FEW_CUT:g} % ({said})" if ends else "no axis over contexts"
        return untested(UNCUT, lacking)
    found = _found([long for _, long in whole], {"": _change_of("final_loss")})
    return judged(UNCUT, found, said, beside=[_difference_of_effects(*each) for each in whole])


CLAIMS = (claim_a, claim_b, claim_c, claim_d, claim_e, claim_f, claim_g, claim_h, claim_i)


def share_cut(case: Case) -> float:
    """The share of the clients' texts that are longer than the context."""
    classes = case.partition.heterogeneity.classes.described
    cut = sum(one.share_cut * one.samples for one in classes)
    return float(cut / sum(one.samples for one in classes))


def local_by_token(case: Case) -> float:
    """sum_k n_k (own_local_k - own_base_k) / sum_k n_k, n_k the tokens that client k is tested on; its last turn.

    Every token counts once, so that all of the clients' texts weigh as in the control, whoever holds them: a mean over
    clients would weigh short texts more under skew, which are not learned as well as long ones.
    """
    last = case.tables.gaps.sort_values("round").groupby("client").tail(1)[["client", "own_change"]]
    own = case.tables.clients[["client", "tokens"]].drop_duplicates("client")
    rows = last.merge(own, on="client").dropna()
    return float(np.average(rows["own_change"], weights=rows["tokens"])) if len(rows) else math.nan


def rises(case: Case) -> pd.DataFrame:
    """What every turn of local training added to the loss on the global test texts: round, client, size, rise.

    rise = loss of the client's own adapter after it - loss of the global model that it was sent (the round before,
    which must have been evaluated); size its training texts over an even share of all.
    """
    sent = case.tables.curve[["round", "loss"]].assign(round=case.tables.curve["round"] + 1)
    joined = case.tables.gaps[["round", "client", "test_local"]].merge(sent, on="round")
    sizes = np.diff(case.partition.train_offsets)
    size = sizes[joined["client"].to_numpy(np.int64)] / sizes.mean()
    found: pd.DataFrame = joined.assign(size=size, rise=joined["test_local"] - joined["loss"])
    return found[["round", "client", "size", "rise"]]


def overfits_early(case: Case, _: Case) -> float:
    """Mean rise over the turns of clients with more than an even share, in the first half of the rounds."""
    found = rises(case)
    early = found["round"] <= case.experiment.federation.num_rounds / 2
    return float(found.loc[early & (found["size"] > 1), "rise"].mean())


def under_learns(case: Case, control: Case) -> float:
    """Mean, over turns of clients with less than an even share, of the rise minus that of the control's same turn."""
    both = rises(case).merge(rises(control), on=["round", "client"], suffixes=("", "_control"))
    few = both[both["size"] < 1]
    return float((few["rise"] - few["rise_control"]).mean())


def excess_spread(case: Case, control: Case) -> float:
    """sd_k(change) - sd_k(change in the control) * sqrt(mean(1/m_k) / mean(1/m_k in the control)); m_k: k's test texts.

    A client with few texts is tested on few, which by itself spreads clients. Control clients are alike, so that their
    variance is chance, sigma^2 mean(1/m); the second term is what chance makes of it where texts are as few.
    """
    (here, few), (even, many) = (_variance(each) for each in (case, control))
    return math.sqrt(here) - math.sqrt(even * few / many) if many else math.nan


def _variance(case: Case) -> tuple[float, float]:
    """Variance over clients of the last change against the base, and the mean of 1/texts."""
    clients = case.tables.clients.dropna(subset=["change"])
    last = clients[clients["round"] == case.tables.curve["round"].max()]
    return (float(np.var(last["change"])), float((1 / last["samples"]).mean())) if len(last) else (math.nan, 0.0)


def _found(settings: Sequence[Setting], values: Mapping[str, OfPair]) -> list[Found]:
    """Every value, by its name, of every pair in every setting."""
    return [
        Found(_named(setting, settings, what), [value(*pair) for pair in setting.pairs], setting.cells)
        for setting in settings
        for what, value in values.items()
    ]


def _difference_of_effects(small: Setting, large: Setting) -> Found:
    """By seed, what skew adds to the final loss at the larger model minus at the smaller."""
    effect = _change_of("final_loss")
    effects = [{pair[0].experiment.seed: effect(*pair) for pair in setting.pairs} for setting in (small, large)]
    seeds = sorted(effects[0].keys() & effects[1].keys())
    what = f"{large.cells[0]} against {small.cells[0]}"
    return Found(what, [effects[1][seed] - effects[0][seed] for seed in seeds], (*small.cells, *large.cells))


def _change_of(outcome: str) -> OfPair:
    return lambda skewed, control: skewed.outcome[outcome] - control.outcome[outcome]


def _named(setting: Setting, settings: Sequence[Setting], what: str) -> str:
    """What tells a comparison from the claim's others."""
    return ", ".join(each for each in (what, setting.cells[0] if len(settings) > 1 or not what else "") if each)


def _marked(settings: Sequence[Setting], fails: Callable[[Case], bool]) -> str:
    pairs = [pair for setting in settings for pair in setting.pairs]
    skewed, control = (sum(fails(pair[i]) for pair in pairs) for i in (0, 1))
    return f"{skewed} of {len(pairs)} skewed runs and {control} of their controls"


def _overfitted(case: Case, much: bool) -> int:
    """Clients with (or without) more than an even share that the rule of early over-fitting marks."""
    sizes = np.diff(case.partition.train_offsets)
    marked = early_overfitting(turns(case.tables.gaps, case.rounds))
    return sum(each.client is not None and bool(sizes[each.client] > sizes.mean()) == much for each in marked)


def _context(setting: Setting) -> int:
    return setting.case.experiment.model.context


def _strong(alpha: float) -> bool:
    """Alpha 1, the paper's second lowest, or below: higher ones are nearly even."""
    return alpha <= 1


def _unknown(sizes: dict[str, float]) -> bool:
    """Whether sizes are missing or all the same."""
    return any(math.isnan(size) for size in sizes.values()) or len(set(sizes.values())) < 2
