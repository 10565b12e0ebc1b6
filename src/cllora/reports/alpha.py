"""Owners' alphas in plain words, and where they lie on the effects that a study measured."""

import math
from collections.abc import Sequence

import numpy as np

from cllora.analysis.alpha import Curve
from cllora.analysis.names import feature_text
from cllora.errors import counted
from cllora.metrics.formats import signed
from cllora.partition import Estimate, FeatureSkew, Inspection

NATS = "nats per token"
WIDE, EVEN = 4, 10
"""An interval is called wide if its ends differ by more than a factor, or if it goes from below an alpha to iid."""


def sentences(inspected: Inspection, curves: Sequence[Curve] = ()) -> list[str]:
    """Sentences on the owners' skews, each followed by what the curves say of it."""
    lines = _alpha("quantity", inspected.quantity, inspected)
    lines += [_effect(curve, inspected.quantity) for curve in curves if curve.scheme == "quantity"]
    subjects = ["quantity", *(feature_text(skew.by) for skew in inspected.features)]
    for subject, skew in zip(subjects[1:], inspected.features, strict=True):
        matching = [c for c in curves if (c.scheme, c.subject, c.classes) == ("client_mix", subject, skew.classes)]
        lines += [*_alpha(subject, skew.alpha, inspected), *_as_unlike(skew)]
        lines += [_effect(curve, skew.alpha) for curve in matching]
    for subject in dict.fromkeys(curve.subject for curve in curves if curve.subject not in subjects):
        lines.append(f"The study varies the skew of {subject}, which is not among what was looked at (--by).")
    return lines


def _alpha(subject: str, alpha: Estimate | None, inspected: Inspection) -> list[str]:
    """The estimate as a sentence, and what to think of its width."""
    if alpha is None:
        why = "all have a single text" if subject == "quantity" else "there is one class, or no owner with two texts"
        return [f"Nothing can be told of the skew of {subject}: {why}."]
    low, high = at_alpha(alpha.low), at_alpha(alpha.high)
    if math.isinf(alpha.alpha):
        beyond = f"; an alpha below {low} would show" if alpha.low > 0 else ""
        main = f"Your skew of {subject} cannot be told from iid: owners differ no more than chance makes them{beyond}."
    elif alpha.alpha == 0:
        main = f"Your skew of {subject} is as strong as can be: like an alpha below {high}."
    else:
        main = f"Your skew of {subject} is like alpha = {at_alpha(alpha.alpha)} (95 % interval {low} to {high})."
    if alpha.low < EVEN if math.isinf(alpha.high) else alpha.high > WIDE * alpha.low:
        texts = f"{np.median(inspected.texts):,.0f} texts in the median"
        return [main, f"That is a wide interval: {len(inspected.names):,} owners with {texts} tell no more."]
    return [main]


def _as_unlike(skew: FeatureSkew) -> list[str]:
    """The alpha at which clients are as unlike, where the likeliest one makes them more or less so."""
    alpha, unlike = skew.alpha, skew.as_unlike
    if alpha is None or unlike is None or unlike.low <= alpha.alpha <= unlike.high:
        return []
    low, high = at_alpha(unlike.low), at_alpha(unlike.high)
    way = "more" if alpha.alpha < unlike.alpha else "less"
    return [
        f"That is the likeliest draw; its clients are {way} unlike than your owners. To study clients as unlike as "
        f"these, take alpha = {at_alpha(unlike.alpha)} ({low} to {high})."
    ]


def at_alpha(alpha: float) -> str:
    """An alpha to two digits, infinity as iid."""
    return "iid" if math.isinf(alpha) else f"{float(f'{alpha:.2g}'):,g}"


def _effect(curve: Curve, alpha: Estimate | None) -> str:
    """The effect measured at the alphas around the estimate; between them a line, beyond them nothing."""
    apart = f" at {curve.setting}" if curve.setting else ""
    where = f"In the study{apart} ({curve.measured_on}; {counted(curve.seeds, 'seed')})"
    if alpha is None:
        return f"{where}, effects by alpha were measured, but there is no alpha to look up."
    return f"{where}, {_at(curve, alpha.alpha)}{_over_interval(curve, alpha)}"


def _at(curve: Curve, alpha: float) -> str:
    """The effect measured at an alpha, or around it."""
    first, last = curve.alphas[0], curve.alphas[-1]
    if math.isinf(alpha):
        return "iid is what others are compared with: no difference."
    if not first <= alpha <= last:
        end, way = (0, "stronger") if alpha < first else (-1, "weaker")
        alone, were = f"alpha {at_alpha(first)} alone was", f"alphas from {at_alpha(first)} to {at_alpha(last)} were"
        measured = alone if first == last else were
        return f"{measured} measured; yours is {way}, where nothing was. Nearest: {_point(curve, end)} against iid."
    exact = np.flatnonzero(np.isclose(curve.alphas, alpha, rtol=0.005))
    if len(exact):
        return f"we measured {_point(curve, exact[0])} against iid."
    above = int(np.searchsorted(curve.alphas, alpha))
    return (
        f"we measured {_point(curve, above - 1)} and {_point(curve, above)} against iid; on the line between "
        f"them (in log alpha) yours is at {_nats(*curve.between(alpha))}."
    )


def _point(curve: Curve, place: int) -> str:
    numbers = curve.difference[place], curve.low[place], curve.high[place]
    return f"{_nats(*numbers)} at alpha {at_alpha(curve.alphas[place])}"


def _nats(difference: float, low: float, high: float) -> str:
    """A difference with its interval, if there is one."""
    doubt = "" if math.isnan(low) else f" ({signed(low)} to {signed(high)})"
    return f"{signed(difference)}{doubt} {NATS}"


def _over_interval(curve: Curve, alpha: Estimate) -> str:
    """The differences over the alphas of the interval that were measured, and whether it goes beyond them."""
    outside = alpha.low < curve.alphas[0] or curve.alphas[-1] < alpha.high < math.inf
    beyond = " Part of your interval lies beyond what was measured." if outside else ""
    differences = curve.over(alpha.low, alpha.high)
    if not differences:
        return beyond
    return f" Over your interval of alpha: {signed(min(differences))} to {signed(max(differences))}.{beyond}"
